// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AffiliatePayout} from "../src/AffiliatePayout.sol";
import {AffiliateRegistry} from "../src/AffiliateRegistry.sol";
import {InitialRoles, TokenLimits} from "../src/types/Config.sol";
import {TestSGE} from "../test-tokens/TestSGE.sol";
import {TestUSDC} from "../test-tokens/TestUSDC.sol";

/// @dev The cheatcodes that this script needs.
interface Vm {
    function addr(uint256 privateKey) external pure returns (address);
    function envOr(string calldata name, address other) external view returns (address);
    function envUint(string calldata name) external view returns (uint256);
    function startBroadcast(uint256 privateKey) external;
    function stopBroadcast() external;
}

/// @title Deployment of registry and payout
/// @notice Run by `scripts/deploy`, which checks the environment first and documents the variables.
/// @dev Roles and limits are set by the constructors: the deployer never holds a role it is not to keep.
contract Deploy {
    bool public constant IS_SCRIPT = true;
    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    function run() external {
        uint256 key = VM.envUint("DEPLOYER_PRIVATE_KEY");
        InitialRoles memory roles = _roles(VM.envOr("ADMIN_ADDRESS", VM.addr(key)));
        address usdc = VM.envOr("USDC_ADDRESS", address(0));
        address sge = VM.envOr("SGE_ADDRESS", address(0));
        bool development = block.chainid == 31337 || block.chainid == 1337;
        require(development || (usdc != address(0) && sge != address(0)), "test tokens on a real chain");
        require(development || roles.relayer != roles.admin, "the relayer must not be the admin on a real chain");

        VM.startBroadcast(key);
        if (usdc == address(0)) usdc = address(new TestUSDC(roles.admin));
        if (sge == address(0)) sge = address(new TestSGE(roles.admin));
        address registry = address(new AffiliateRegistry(roles.adminDelay, roles.admin, roles.relayer, roles.pauser));
        new AffiliatePayout(registry, usdc, sge, roles, _limits("USDC"), _limits("SGE"));
        VM.stopBroadcast();
    }

    function _roles(address admin) private view returns (InitialRoles memory) {
        return InitialRoles({
            adminDelay: uint48(VM.envUint("ADMIN_DELAY")),
            admin: admin,
            relayer: VM.envOr("RELAYER_ADDRESS", admin),
            pauser: VM.envOr("PAUSER_ADDRESS", admin),
            limiter: VM.envOr("LIMITER_ADDRESS", admin),
            treasurer: VM.envOr("TREASURER_ADDRESS", admin)
        });
    }

    function _limits(string memory token) private view returns (TokenLimits memory) {
        return TokenLimits({
            cap: VM.envUint(string.concat(token, "_CAP")),
            limit: uint208(VM.envUint(string.concat(token, "_WINDOW_LIMIT"))),
            window: uint48(VM.envUint("WINDOW_SECONDS"))
        });
    }
}
