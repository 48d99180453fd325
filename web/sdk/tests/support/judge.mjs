// Judges proofs by bb.js alone, with the script that the README gives to its readers.

export { verifyProof } from '../../../../circuit/verify_proof.mjs';
