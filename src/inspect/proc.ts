/** Looks at /proc and its like, where what is gone or hidden is as good as nothing. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { quietly } from '../quietly.js';

export function read(path: string): string {
  return quietly(() => readFileSync(path, 'utf8')) ?? '';
}

export function list(path: string): string[] {
  return quietly(() => readdirSync(path)) ?? [];
}

export function linkOf(path: string): string | undefined {
  return quietly(() => readlinkSync(path));
}
