// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Vm} from "@prb/test/src/Vm.sol";

/// @dev What Foundry has learned since the interface of @prb/test was written.
interface Cheats is Vm {
    struct Gas {
        uint64 gasLimit;
        uint64 gasTotalUsed;
        uint64 gasMemoryUsed;
        int64 gasRefunded;
        uint64 gasRemaining;
    }

    function cool(address target) external;
    function lastCallGas() external view returns (Gas memory gas);
    function snapshotState() external returns (uint256 id);
    function revertToState(uint256 id) external returns (bool success);
    function snapshotValue(string calldata group, string calldata name, uint256 value) external;
}
