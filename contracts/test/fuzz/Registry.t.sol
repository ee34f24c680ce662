// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Referral, RegistrationOutcome} from "../../src/types/DataTypes.sol";
import {Base} from "../utils/Base.sol";

contract RegistryFuzzTest is Base {
    /// @dev A batch ends like its items one after the other; what is recorded never changes; nobody is in a pair.
    function testFuzz_BatchEqualsSinglesInOrder(uint256 seed, uint8 count) public {
        Referral[] memory items = new Referral[](count % 32);
        for (uint256 i = 0; i < items.length; ++i) {
            uint256 random = uint256(keccak256(abi.encode(seed, i)));
            items[i] = Referral(address(uint160(random % 6)), address(uint160((random >> 128) % 6)));
        }
        uint256 snapshot = cheats.snapshotState();
        bool[] memory accepted = new bool[](items.length);
        for (uint256 i = 0; i < items.length; ++i) {
            vm.prank(relayer);
            try registry.registerReferral(items[i].child, items[i].referrer) {
                accepted[i] = true;
            } catch {}
        }
        address[6] memory expected;
        for (uint160 i = 0; i < 6; ++i) {
            expected[i] = registry.referrerOf(address(i));
        }
        cheats.revertToState(snapshot);

        vm.prank(relayer);
        RegistrationOutcome[] memory outcomes = registry.registerReferralBatch(items);
        for (uint256 i = 0; i < items.length; ++i) {
            assertEq(outcomes[i] <= RegistrationOutcome.AlreadyRegistered, accepted[i], "accepted");
        }
        for (uint160 i = 0; i < 6; ++i) {
            address recorded = registry.referrerOf(address(i));
            assertEq(recorded, expected[i], "recorded");
            if (recorded != address(0)) assertNotEq(registry.referrerOf(recorded), address(i), "pair");
        }
    }

    /// @dev Only a relayer records.
    function testFuzz_OnlyARelayerRecords(address caller, address child_, address referrer_) public {
        if (caller == relayer) return;
        vm.prank(caller);
        (bool ok,) = address(registry).call(abi.encodeCall(registry.registerReferral, (child_, referrer_)));
        assertFalse(ok);
    }
}
