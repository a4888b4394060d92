// The main program of a single executable, with the addon's binary as its asset.
const { mkdtempSync, rmSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { dirname, join } = require('node:path');
const { getAsset } = require('node:sea');
const { InterProcessLock, layers, setNativeBinding } = require('fairlock');

const file = join(mkdtempSync(join(tmpdir(), 'fairlock-test-')), 'fairlock.node');
writeFileSync(file, Buffer.from(getAsset('fairlock.node')));
setNativeBinding(file);
const lock = new InterProcessLock(process.argv[2]);
lock.withLock(() => console.log(JSON.stringify([lock.inspect().layers.wait, layers()['native-fallback'].reason])));
rmSync(dirname(file), { recursive: true });
