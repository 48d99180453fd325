pragma circom 2.0.0;

include "poseidon_chain_template.circom";

// About 30,000 constraints.
component main = PoseidonChain(126);
