/**
 * The binaries that travel in the package, each by a name of its own, so that what collects the files of a program finds
 * them (nft, ncc, webpack, rspack, Next.js). Most copy the file and keep its place; some replace the URL by that of a copy.
 */
export function prebuilt(name: string): URL | undefined {
  // Bundled into CommonJS, and not replaced.
  if (import.meta.url === undefined) return undefined;
  const urls: Record<string, URL> = {
    'darwin-arm64': new URL('../../native-fallback/prebuilds/darwin-arm64.node', import.meta.url),
    'darwin-x64': new URL('../../native-fallback/prebuilds/darwin-x64.node', import.meta.url),
    'linux-arm64': new URL('../../native-fallback/prebuilds/linux-arm64.node', import.meta.url),
    'linux-arm64-musl': new URL('../../native-fallback/prebuilds/linux-arm64-musl.node', import.meta.url),
    'linux-x64': new URL('../../native-fallback/prebuilds/linux-x64.node', import.meta.url),
    'linux-x64-musl': new URL('../../native-fallback/prebuilds/linux-x64-musl.node', import.meta.url),
    'win32-x64': new URL('../../native-fallback/prebuilds/win32-x64.node', import.meta.url),
  };
  return urls[name];
}
