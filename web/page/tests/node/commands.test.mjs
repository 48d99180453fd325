// The commands that a page shows do what the page did, and have no key and no voucher.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import test from 'node:test';

import { load } from '../support/module.mjs';

const { clientProgram, curlCommand, quoted } = await load('src/prove/commands.ts');
const run = promisify(execFile);

const call = {
  base: new URL('http://127.0.0.1:1/below/'), circuit: 'range_check', target: 'evm', access: 'key', publicNames: new Set(['min']),
  inputs: { value: 2n ** 60n, min: 18n, name: "O'Brien $HOME `id`", flags: [true, false] },
};

test('a word of the shell is the text itself', async () => {
  for (const text of ["it's", '$(id) `id` "\\', 'line\nline', '']) {
    const { stdout } = await run('sh', ['-c', `printf %s ${quoted(text)}`]);
    assert.equal(stdout, text);
  }
});

test('the command of curl sends what the page sends', async () => {
  const command = curlCommand(call);
  const { stdout } = await run('sh', ['-c', command.replace(/^curl/, 'printf "%s\\n"')], { env: { ...process.env, EDGEPROVE_KEY: 'from-the-shell' } });
  const words = stdout.trimEnd().split('\n');
  assert.equal(words[0], 'http://127.0.0.1:1/below/api/prove/range_check?target=evm');
  assert.ok(words.includes('Authorization: Bearer from-the-shell'));
  const body = JSON.parse(words.at(-1));
  assert.deepEqual(body, {
    privateInputs: { value: '1152921504606846976', name: "O'Brien $HOME `id`", flags: [true, false] }, publicInputs: { min: '18' },
  });
  assert.doesNotMatch(curlCommand({ ...call, access: undefined }), /Authorization|EDGEPROVE_/);
  assert.match(curlCommand({ ...call, publicNames: new Set() }), /--data '\{"privateInputs":\{"value"/);
});

test('a voucher is taken from a variable of its own', async () => {
  const withVoucher = { ...call, access: 'voucher' };
  const { stdout } = await run('sh', ['-c', curlCommand(withVoucher).replace(/^curl/, 'printf "%s\\n"')], {
    env: { ...process.env, EDGEPROVE_VOUCHER: 'epv1.from.the-shell' },
  });
  assert.ok(stdout.split('\n').includes('Authorization: Bearer epv1.from.the-shell'));
  assert.match(clientProgram(withVoucher), /, voucher: process\.env\.EDGEPROVE_VOUCHER \}/);
  assert.doesNotMatch(curlCommand(withVoucher) + clientProgram(withVoucher), /EDGEPROVE_KEY|apiKey/);
  assert.doesNotMatch(clientProgram({ ...call, access: undefined }), /apiKey|voucher/);
});

test('the program is valid, with exact integers', async () => {
  const text = clientProgram(call);
  assert.match(text, /value: 1152921504606846976n/);
  assert.match(text, /min: 18[,\s]/);
  assert.match(text, /apiKey: process\.env\.EDGEPROVE_KEY/);
  const inputs = /prove\('range_check', ([^]*), \{ target: 'evm' \}\);/.exec(text)[1];
  const { stdout } = await run('node', ['-e', `console.log((${inputs}).value, (${inputs}).name)`]);
  assert.equal(stdout.trim(), "1152921504606846976n O'Brien $HOME `id`");
});
