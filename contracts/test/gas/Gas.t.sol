// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAffiliateRegistry} from "../../src/interfaces/IAffiliateRegistry.sol";
import {Payout, PayoutOutcome, Referral} from "../../src/types/DataTypes.sol";
import {Base} from "../utils/Base.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @dev The least that a batch sender can do: no identity, no role, no limit, no record.
contract BareSender {
    function send(IERC20 token, address[] calldata recipients, uint256[] calldata amounts) external {
        for (uint256 i = 0; i < recipients.length; ++i) {
            require(token.transfer(recipients[i], amounts[i]));
        }
    }
}

/// @dev The least that pays each payment once, to whom the registry says, and tells: no role, no limit, no token that is not
/// trusted, no reasons. What is above it is what those cost.
contract FloorSender {
    mapping(bytes32 paymentId => uint256 blockNumber) internal paidAt;
    IAffiliateRegistry internal immutable registry;

    event AffiliatePaid(
        bytes32 indexed paymentId,
        address indexed referrer,
        address indexed child,
        uint256 usdcAmount,
        uint256 sgeAmount
    );

    constructor(IAffiliateRegistry registry_) {
        registry = registry_;
    }

    function send(IERC20 token, Payout[] calldata items) external {
        for (uint256 i = 0; i < items.length; ++i) {
            Payout calldata item = items[i];
            address referrer = registry.referrerOf(item.child);
            require(referrer == item.referrer);
            _send(token, item.paymentId, item.child, referrer, item.usdcAmount);
        }
    }

    /// @dev 64 bytes an item: payment id, child, amount in 12 bytes. Whoever is recorded is paid.
    function sendPacked(IERC20 token, bytes calldata items) external {
        for (uint256 start = 0; start < items.length; start += 64) {
            bytes32 word = bytes32(items[start + 32:start + 64]);
            address child = address(bytes20(word));
            _send(token, bytes32(items[start:start + 32]), child, registry.referrerOf(child), uint96(uint256(word)));
        }
    }

    function _send(IERC20 token, bytes32 id, address child, address referrer, uint256 amount) private {
        require(paidAt[id] == 0);
        paidAt[id] = block.number;
        emit AffiliatePaid(id, referrer, child, amount, 0);
        require(token.transfer(referrer, amount));
    }
}

/// forge-config: default.isolate = true
contract GasTest is Base {
    BareSender internal bare;
    FloorSender internal floor;

    function setUp() public override {
        super.setUp();
        bare = new BareSender();
        floor = new FloorSender(registry);
        usdc.mint(address(bare), USDC_FUNDS);
        usdc.mint(address(floor), USDC_FUNDS);
        for (uint256 i = 0; i < 100; ++i) {
            _register(_child(i), _referrer(i));
        }
        _register(_child(100), address(0xBEEF));
    }

    function test_Lone() public {
        _used("warm-up", 0);
        _one_("lone: new recipient, first entry of the window", 1, 12e6, 0, 0);
        _one_("lone: returning recipient, live window", 2, 12e6, 0, 60);
        _one_("lone: returning recipient, expired window", 4, 12e6, 0, 2 days);
        _one_("lone: hybrid, new SGE recipient", 5, 12e6, 3e18, 60);
        _one_("lone: hybrid, returning", 6, 12e6, 3e18, 60);
        _setWindow(address(usdc), type(uint208).max, WINDOW);
        _one_("lone: returning recipient, window off", 7, 12e6, 0, 60);
    }

    function test_Batch() public {
        uint256[3] memory sizes = [uint256(1), 10, 100];
        string[3] memory names = ["1", "10", "100"];
        for (uint256 round = 0; round < 2; ++round) {
            for (uint256 k = 3; k > 0; --k) {
                uint256 n = sizes[k - 1];
                string memory state = round == 0 && k == 3 ? "new" : "returning";
                Payout[] memory items = new Payout[](n);
                Payout[] memory hybrids = new Payout[](n);
                address[] memory recipients = new address[](n);
                uint256[] memory amounts = new uint256[](n);
                for (uint256 i = 0; i < n; ++i) {
                    bytes32 id = keccak256(abi.encode(round, k, i));
                    items[i] = Payout(id, _child(i), _referrer(i), 12.345678e6, 0);
                    hybrids[i] = Payout(keccak256(abi.encode(id)), _child(i), _referrer(i), 12.345678e6, 1.23456789e18);
                    recipients[i] = _referrer(i);
                    amounts[i] = 12.345678e6;
                }
                vm.warp(block.timestamp + 60);
                vm.prank(relayer);
                payout.payAffiliateBatch(items);
                _used(string.concat("batch of ", names[k - 1], ", per item, ", state), n);
                vm.prank(relayer);
                payout.payAffiliateBatch(hybrids);
                _used(string.concat("hybrid batch of ", names[k - 1], ", per item, ", state), n);
                bare.send(usdc, recipients, amounts);
                _used(string.concat("bare batch of ", names[k - 1], ", per item"), n);
            }
        }
    }

    function test_Floor() public {
        Payout[] memory items = new Payout[](100);
        bytes memory packed;
        address[] memory recipients = new address[](100);
        uint256[] memory amounts = new uint256[](100);
        for (uint256 i = 0; i < 100; ++i) {
            items[i] = Payout(keccak256(abi.encode("floor", i)), _child(i), _referrer(i), 12.345678e6, 0);
            bytes32 id = keccak256(abi.encode("packed", i));
            packed = bytes.concat(packed, id, bytes20(_child(i)), bytes12(uint96(12.345678e6)));
            recipients[i] = _referrer(i);
            amounts[i] = 12.345678e6;
        }
        // The recipients return, as in the batches that these are compared with.
        bare.send(usdc, recipients, amounts);
        floor.send(usdc, items);
        _used("floor batch of 100, per item", 100);
        floor.sendPacked(usdc, packed);
        _used("floor batch of 100, packed, per item", 100);
    }

    function test_Registration() public {
        uint256[3] memory sizes = [uint256(1), 10, 100];
        for (uint256 k = 0; k < 3; ++k) {
            Referral[] memory items = new Referral[](sizes[k]);
            for (uint256 i = 0; i < items.length; ++i) {
                items[i] = Referral(_child(1000 + 100 * k + i), _referrer(1000 + 100 * k + i));
            }
            vm.prank(relayer);
            registry.registerReferralBatch(items);
            _used(string.concat("registration batch, per item ", k == 0 ? "1" : k == 1 ? "10" : "100"), items.length);
        }
        vm.prank(relayer);
        registry.registerReferral(_child(9000), _referrer(9000));
        _used("registration, lone", 1);
    }

    function _one_(string memory name, uint256 id, uint256 usdcAmount, uint256 sgeAmount, uint256 later) private {
        vm.warp(block.timestamp + later);
        vm.prank(relayer);
        if (sgeAmount == 0) {
            payout.payAffiliateUSDC(keccak256(abi.encode(id)), _child(100), address(0xBEEF), usdcAmount);
        } else {
            payout.payAffiliateHybrid(keccak256(abi.encode(id)), _child(100), address(0xBEEF), usdcAmount, sgeAmount);
        }
        _used(name, 1);
    }

    function _used(string memory name, uint256 n) private {
        if (n == 0) return;
        cheats.snapshotValue("gas", name, cheats.lastCallGas().gasTotalUsed / n);
    }

    function _child(uint256 i) private pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode("child", i)))));
    }

    function _referrer(uint256 i) private pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode("referrer", i)))));
    }
}
