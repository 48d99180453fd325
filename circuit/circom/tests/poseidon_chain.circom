pragma circom 2.0.0;

include "poseidon_chain_template.circom";

// About 3,300 constraints.
component main = PoseidonChain(14);
