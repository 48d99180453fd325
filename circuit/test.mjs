// Runs the circuits' own `#[test]` functions. The templates' are run with their samples: check_template.mjs.

import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

import { testsOf } from './noir_tests.mjs';

const circuits = fileURLToPath(new URL('./noir', import.meta.url));

for (const circuit of await readdir(circuits)) {
  if (circuit === 'templates') {
    continue;
  }
  const tests = await testsOf(path.join(circuits, circuit));

  test(circuit, async (group) => {
    assert.notEqual(tests.length, 0, 'a circuit without tests');
    for (const { name, run } of tests) {
      await group.test(name, run);
    }
  });
}
