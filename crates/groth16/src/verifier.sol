// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// Verifies Groth16 proofs over BN254 for one circuit.
///
/// `verifyProof` returns false for a proof that is not valid, for a coordinate or a public signal that is not below its
/// modulus, and when it runs out of gas inside a precompile: call it with a gas limit that is large enough.
contract Groth16Verifier {
    /// The modulus of the coordinates.
    uint256 private constant P = 21888242871839275222246405745257275088696311157297823662689037894645226208583;
    /// The modulus of the public signals.
    uint256 private constant R = 21888242871839275222246405745257275088548364400416034343698204186575808495617;

    uint256 private constant PUBLIC_SIGNALS = @PUBLIC@;

    uint256 private constant ALPHA_X = @ALPHA_X@;
    uint256 private constant ALPHA_Y = @ALPHA_Y@;
    uint256 private constant BETA_X1 = @BETA_X1@;
    uint256 private constant BETA_X0 = @BETA_X0@;
    uint256 private constant BETA_Y1 = @BETA_Y1@;
    uint256 private constant BETA_Y0 = @BETA_Y0@;
    uint256 private constant GAMMA_X1 = @GAMMA_X1@;
    uint256 private constant GAMMA_X0 = @GAMMA_X0@;
    uint256 private constant GAMMA_Y1 = @GAMMA_Y1@;
    uint256 private constant GAMMA_Y0 = @GAMMA_Y0@;
    uint256 private constant DELTA_X1 = @DELTA_X1@;
    uint256 private constant DELTA_X0 = @DELTA_X0@;
    uint256 private constant DELTA_Y1 = @DELTA_Y1@;
    uint256 private constant DELTA_Y0 = @DELTA_Y0@;

    /// A point for the constant 1, then one for each public signal.
    bytes private constant SIGNAL_POINTS =
@POINTS@;

    /// Whether the proof is valid for the public signals. The two parts of each coordinate of `b` are in the order of the
    /// precompile: the imaginary part first.
    function verifyProof(
        uint256[2] calldata a,
        uint256[2][2] calldata b,
        uint256[2] calldata c,
        uint256[@PUBLIC@] calldata signals
    ) external view returns (bool) {
        if (a[0] >= P || a[1] >= P || c[0] >= P || c[1] >= P) return false;
        if (b[0][0] >= P || b[0][1] >= P || b[1][0] >= P || b[1][1] >= P) return false;
        (bool success, uint256 x, uint256 y) = _signalPoint(signals);
        if (!success) return false;

        // e(-A, B) * e(alpha, beta) * e(signals, gamma) * e(C, delta) is 1 for a valid proof.
        uint256[24] memory pairs = [
            a[0],
            a[1] == 0 ? 0 : P - a[1],
            b[0][0],
            b[0][1],
            b[1][0],
            b[1][1],
            ALPHA_X,
            ALPHA_Y,
            BETA_X1,
            BETA_X0,
            BETA_Y1,
            BETA_Y0,
            x,
            y,
            GAMMA_X1,
            GAMMA_X0,
            GAMMA_Y1,
            GAMMA_Y0,
            c[0],
            c[1],
            DELTA_X1,
            DELTA_X0,
            DELTA_Y1,
            DELTA_Y0
        ];
        assembly ("memory-safe") {
            success := staticcall(gas(), 0x08, pairs, 768, pairs, 32)
        }
        return success && pairs[0] == 1;
    }

    /// The sum of the points of all public signals, each times its signal. No success: a signal is not below its modulus,
    /// or the gas is used up.
    function _signalPoint(uint256[@PUBLIC@] calldata signals)
        private
        view
        returns (bool success, uint256 x, uint256 y)
    {
        bytes memory points = SIGNAL_POINTS;
        assembly ("memory-safe") {
            // Five words: the sum, and a point with its factor, whose product replaces the point.
            let sum := mload(0x40)
            let term := add(sum, 64)
            let point := add(points, 32)
            mstore(sum, mload(point))
            mstore(add(sum, 32), mload(add(point, 32)))
            success := 1
            for { let i := 0 } and(lt(i, PUBLIC_SIGNALS), success) { i := add(i, 1) } {
                let signal := calldataload(add(signals, mul(i, 32)))
                point := add(point, 64)
                mstore(term, mload(point))
                mstore(add(term, 32), mload(add(point, 32)))
                mstore(add(term, 64), signal)
                success := lt(signal, R)
                success := and(success, staticcall(gas(), 0x07, term, 96, term, 64))
                success := and(success, staticcall(gas(), 0x06, sum, 128, sum, 64))
            }
            x := mload(sum)
            y := mload(add(sum, 32))
        }
    }
}
