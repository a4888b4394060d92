/** The calls of etcd's API that are used, as protobuf.js describes them; the numbers are those of etcd's rpc.proto. */

type Field = [type: string, id: number, rule?: 'repeated'];
const message = (fields: Record<string, Field>, oneofs?: Record<string, { oneof: string[] }>): object => ({
  fields: Object.fromEntries(
    Object.entries(fields).map(([name, [type, id, rule]]) => [
      name,
      rule === undefined ? { type, id } : { type, id, rule },
    ]),
  ),
  ...(oneofs !== undefined && { oneofs }),
});
const unary = (requestType: string, responseType: string): object => ({ requestType, responseType });
const stream = (requestType: string, responseType: string): object => ({
  requestType,
  responseType,
  requestStream: true,
  responseStream: true,
});

export const API = {
  nested: {
    etcdserverpb: {
      nested: {
        KV: {
          methods: {
            Range: unary('RangeRequest', 'RangeResponse'),
            DeleteRange: unary('DeleteRangeRequest', 'DeleteRangeResponse'),
            Txn: unary('TxnRequest', 'TxnResponse'),
          },
        },
        Watch: { methods: { Watch: stream('WatchRequest', 'WatchResponse') } },
        Lease: {
          methods: {
            LeaseGrant: unary('LeaseGrantRequest', 'LeaseGrantResponse'),
            LeaseRevoke: unary('LeaseRevokeRequest', 'LeaseRevokeResponse'),
            LeaseKeepAlive: stream('LeaseKeepAliveRequest', 'LeaseKeepAliveResponse'),
          },
        },
        Auth: { methods: { Authenticate: unary('AuthenticateRequest', 'AuthenticateResponse') } },
        ResponseHeader: message({ revision: ['int64', 3] }),
        KeyValue: message({ key: ['bytes', 1], create_revision: ['int64', 2], value: ['bytes', 5] }),
        RangeRequest: message({
          ...{ key: ['bytes', 1], range_end: ['bytes', 2], limit: ['int64', 3], sort_order: ['int32', 5] },
          ...{ sort_target: ['int32', 6], keys_only: ['bool', 8], max_create_revision: ['int64', 13] },
        }),
        RangeResponse: message({ kvs: ['KeyValue', 2, 'repeated'], count: ['int64', 4] }),
        PutRequest: message({ key: ['bytes', 1], value: ['bytes', 2], lease: ['int64', 3] }),
        DeleteRangeRequest: message({ key: ['bytes', 1] }),
        DeleteRangeResponse: message({}),
        RequestOp: message(
          { request_range: ['RangeRequest', 1], request_put: ['PutRequest', 2] },
          { request: { oneof: ['request_range', 'request_put'] } },
        ),
        ResponseOp: message({ response_range: ['RangeResponse', 1] }),
        Compare: message({
          ...{ result: ['int32', 1], target: ['int32', 2], key: ['bytes', 3], create_revision: ['int64', 5] },
          range_end: ['bytes', 64],
        }),
        TxnRequest: message({
          compare: ['Compare', 1, 'repeated'],
          success: ['RequestOp', 2, 'repeated'],
          failure: ['RequestOp', 3, 'repeated'],
        }),
        TxnResponse: message({
          header: ['ResponseHeader', 1],
          succeeded: ['bool', 2],
          responses: ['ResponseOp', 3, 'repeated'],
        }),
        WatchRequest: message(
          { create_request: ['WatchCreateRequest', 1], cancel_request: ['WatchCancelRequest', 2] },
          { request_union: { oneof: ['create_request', 'cancel_request'] } },
        ),
        WatchCreateRequest: message({
          ...{ key: ['bytes', 1], range_end: ['bytes', 2], filters: ['int32', 5, 'repeated'] },
          watch_id: ['int64', 7],
        }),
        WatchCancelRequest: message({ watch_id: ['int64', 1] }),
        WatchResponse: message({
          ...{ watch_id: ['int64', 2], created: ['bool', 3], canceled: ['bool', 4], cancel_reason: ['string', 6] },
          events: ['Event', 11, 'repeated'],
        }),
        Event: message({ type: ['int32', 1], kv: ['KeyValue', 2] }),
        LeaseGrantRequest: message({ TTL: ['int64', 1] }),
        LeaseGrantResponse: message({ ID: ['int64', 2], error: ['string', 4] }),
        LeaseRevokeRequest: message({ ID: ['int64', 1] }),
        LeaseRevokeResponse: message({}),
        LeaseKeepAliveRequest: message({ ID: ['int64', 1] }),
        LeaseKeepAliveResponse: message({ TTL: ['int64', 3] }),
        AuthenticateRequest: message({ name: ['string', 1], password: ['string', 2] }),
        AuthenticateResponse: message({ token: ['string', 2] }),
      },
    },
  },
};

export interface KeyValue {
  key: Buffer;
  create_revision: string;
  value: Buffer;
}
export interface RangeResponse {
  kvs: KeyValue[];
  count: string;
}
export interface TxnResponse {
  header: { revision: string };
  succeeded: boolean;
  responses: { response_range?: RangeResponse }[];
}
export interface WatchResponse {
  watch_id: string;
  created: boolean;
  canceled: boolean;
  cancel_reason: string;
  events: { type: number; kv: KeyValue }[];
}

/** etcd's enumerations. */
export const EQUAL = 0;
export const TARGET_CREATE = 1;
export const SORT_ASCENDING = 1;
export const SORT_BY_CREATE = 2;
export const NO_PUT = 0;
export const DELETED = 1;

/** The keys that were created last, first. */
export const NEWEST = { sort_order: 2, sort_target: SORT_BY_CREATE, keys_only: true };
