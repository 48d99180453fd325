// The script of the test page, bundled: the package for the functions of the tests, and a component of React.

import { createElement as h, StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

import * as sdk from '../../../dist/index.js';
import { useProof } from '../../../dist/react.js';

function Prove({ prover, circuit }) {
  const { status, progress, result, error, prove, abort } = useProof(prover);
  const start = (value) => void prove(circuit, { value, min: 10, max: 100 });
  return h('div', null,
    h('button', { id: 'prove', onClick: () => start(42) }, 'prove'),
    h('button', { id: 'fail', onClick: () => start(5) }, 'fail'),
    h('button', { id: 'abort', onClick: abort }, 'abort'),
    h('output', { id: 'state' }, [status, progress?.stage, result?.provedBy, error?.code].filter(Boolean).join(' ')));
}

window.edgeprove = sdk;
window.showComponent = (options, circuit) => {
  const root = createRoot(document.querySelector('#root'));
  const prover = sdk.createProver(options);
  root.render(h(StrictMode, null, h(Prove, { prover, circuit })));
  window.removeComponent = () => root.unmount();
};
