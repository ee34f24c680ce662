// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAffiliatePayout} from "../interfaces/IAffiliatePayout.sol";
import {RollingWindow} from "../libraries/RollingWindow.sol";
import {TokenLimits} from "../types/Config.sol";
import {PayoutFunding} from "./PayoutFunding.sol";
import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";

/// @title Payout limits
/// @notice The cap per payout and the strict rolling window of each token, who may change them, and what is left.
/// @dev What left counts for the whole window after it, and for at most a quarter longer: see `RollingWindow`. While a
/// window is off nothing is recorded, so what left before it was switched on does not count against it. A window whose
/// length changes counts what it still counts as if it had left at that moment. A window of less than 4 seconds acts as
/// one of 4.
abstract contract PayoutLimits is PayoutFunding, AccessControlDefaultAdminRules {
    using RollingWindow for RollingWindow.Window;

    /// @notice May tighten caps and windows.
    bytes32 public constant LIMITER_ROLE = keccak256("LIMITER_ROLE");

    /// @notice The limit at which a window is off.
    uint208 public constant WINDOW_OFF = RollingWindow.OFF;

    /// @inheritdoc IAffiliatePayout
    address public immutable override usdc;

    /// @inheritdoc IAffiliatePayout
    address public immutable override sge;

    mapping(address token => RollingWindow.Window) private _windows;
    mapping(address token => uint256) private _caps;

    constructor(address usdc_, address sge_, TokenLimits memory usdcLimits, TokenLimits memory sgeLimits) {
        // Check
        if (usdc_ == address(0) || sge_ == address(0)) revert ZeroAddress();
        if (usdc_ == sge_) revert UnknownToken(sge_);

        // Effect
        usdc = usdc_;
        sge = sge_;
        _setCap(usdc_, usdcLimits.cap);
        _setWindow(usdc_, usdcLimits.limit, usdcLimits.window);
        _setCap(sge_, sgeLimits.cap);
        _setWindow(sge_, sgeLimits.limit, sgeLimits.window);
    }

    modifier onlyKnown(address token) {
        _checkKnown(token);
        _;
    }

    /// @inheritdoc IAffiliatePayout
    function setPayoutCap(address token, uint256 cap) external override onlyKnown(token) {
        // Check
        if (_mayOnlyTighten() && cap >= _caps[token]) revert NotTightening();

        // Effect
        _setCap(token, cap);
    }

    /// @inheritdoc IAffiliatePayout
    function setWindow(address token, uint208 limit, uint48 window) external override onlyKnown(token) {
        // Check
        RollingWindow.Window storage current = _windows[token];
        if (_mayOnlyTighten() && (limit > current.limit || window < current.length)) revert NotTightening();

        // Effect
        _setWindow(token, limit, window);
    }

    /// @inheritdoc IAffiliatePayout
    function limits(address token)
        external
        view
        override
        onlyKnown(token)
        returns (uint256 cap, uint256 limit, uint48 window, uint256 used, uint256 left)
    {
        RollingWindow.Window storage current = _windows[token];
        cap = _caps[token];
        limit = current.limit;
        window = current.length;
        used = current.used();
        left = current.left();
    }

    /// @inheritdoc IAffiliatePayout
    function hasRole(bytes32 role, address account)
        public
        view
        virtual
        override(IAffiliatePayout, AccessControl, IAccessControl)
        returns (bool)
    {
        return super.hasRole(role, account);
    }

    /// @dev Records that `amount` of `token` leaves. Reverts if the window has less left.
    function _consumeWindow(address token, uint256 amount) internal {
        _windows[token].consume(amount);
    }

    function _capOf(address token) internal view returns (uint256) {
        return _caps[token];
    }

    function _windowLeft(address token) internal view returns (uint256) {
        return _windows[token].left();
    }

    function _checkKnown(address token) internal view {
        if (token != usdc && token != sge) revert UnknownToken(token);
    }

    /// @dev False for the admin, true for any other limiter; reverts for everybody else.
    function _mayOnlyTighten() private view returns (bool) {
        if (hasRole(DEFAULT_ADMIN_ROLE, msg.sender)) return false;
        _checkRole(LIMITER_ROLE);
        return true;
    }

    function _setCap(address token, uint256 cap) private {
        emit PayoutCapChanged(token, _caps[token], cap);
        _caps[token] = cap;
    }

    function _setWindow(address token, uint208 limit, uint48 window) private {
        RollingWindow.Window storage current = _windows[token];
        emit WindowChanged(token, current.limit, current.length, limit, window);
        current.set(limit, window);
    }
}
