// Inputs in the forms of noir_js and of the server.

import assert from 'node:assert/strict';
import test from 'node:test';

import { inputsBody, isWitness, plainInputs } from '../../dist/inputs.js';

test('integers become digits, and nothing is rounded', () => {
  const inputs = { big: 2n ** 200n, negative: -5n, list: [1, [2n]], struct: { flag: true, text: 'x' } };
  assert.deepEqual(plainInputs(inputs), {
    big: (2n ** 200n).toString(), negative: '-5', list: [1, ['2']], struct: { flag: true, text: 'x' },
  });
});

test('values that are no inputs are refused by their path, without the value', () => {
  let deep = 1;
  for (let i = 0; i < 100; i++) deep = [deep];
  for (const [inputs, path] of [
    [{ a: 1.5 }, 'a'], [{ a: { b: [0, 2 ** 60] } }, 'a.b[1]'], [{ a: null }, 'a'], [{ a: undefined }, 'a'], [{ a: () => 1 }, 'a'],
    [{ a: Number.NaN }, 'a'], [{ a: Symbol('s') }, 'a'],
  ]) {
    assert.throws(() => plainInputs(inputs), (error) => {
      assert.equal(error.code, 'invalid_inputs');
      assert.equal(error.field, path);
      assert.ok(!/1\.5|1152921504606846976/.test(error.message), error.message);
      return true;
    });
  }
  assert.throws(() => plainInputs({ deep }), { code: 'invalid_inputs' });
});

test('a circular input is refused', () => {
  const list = [];
  list.push(list);
  assert.throws(() => plainInputs({ list }), { code: 'invalid_inputs' });
});

test('public and private inputs are parted by the circuit', async () => {
  const inputs = [
    { name: 'value', type: { kind: 'field' }, visibility: 'private' },
    { name: 'min', type: { kind: 'field' }, visibility: 'public' },
  ];
  const noir = inputsBody({ min: 1n, value: 2 }, { inputs });
  assert.equal(noir.type, 'application/json');
  assert.deepEqual(JSON.parse(await noir.text()), { privateInputs: { value: 2 }, publicInputs: { min: '1' } });
  const circom = inputsBody({ in: 60 }, { inputs: null });
  assert.deepEqual(JSON.parse(await circom.text()), { privateInputs: { in: 60 } });
});

test('bytes and blobs are witnesses', () => {
  assert.ok(isWitness(new Uint8Array(1)) && isWitness(new Blob(['x'])));
  assert.ok(!isWitness({ value: 1 }));
});
