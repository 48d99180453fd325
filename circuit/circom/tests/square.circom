pragma circom 2.0.0;

// A private root of any size, and its public square.
template Square() {
    signal input root;
    signal output square;
    square <== root * root;
}

component main = Square();
