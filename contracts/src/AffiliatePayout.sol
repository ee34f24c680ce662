// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {PayoutLimits} from "./abstracts/PayoutLimits.sol";
import {IAffiliatePayout} from "./interfaces/IAffiliatePayout.sol";
import {IAffiliateRegistry} from "./interfaces/IAffiliateRegistry.sol";
import {InitialRoles, TokenLimits} from "./types/Config.sol";
import {Payout, PayoutOutcome} from "./types/DataTypes.sol";
import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title Affiliate payout
/// @notice See {IAffiliatePayout}. A payment id that was paid stays paid: nothing in this contract clears one.
/// @dev Not upgradeable. Both tokens start closed unless the constructor is given limits.
contract AffiliatePayout is PayoutLimits, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @dev What may still leave of one token during one call. Opened on first need, recorded once at the end.
    struct Budget {
        address token;
        bool opened;
        uint256 cap;
        uint256 left;
        uint256 funds;
        uint256 spent;
    }

    /// @notice May pay.
    bytes32 public constant RELAYER_ROLE = keccak256("RELAYER_ROLE");

    /// @notice May pause.
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");

    /// @notice May withdraw.
    bytes32 public constant TREASURER_ROLE = keccak256("TREASURER_ROLE");

    /// @notice The gas that must be left before an item of one token is paid.
    /// @dev Storing the payment id, `TRANSFER_GAS` * 64 / 63 and reporting the failure.
    uint256 public constant ITEM_GAS = 135_000;

    /// @notice The gas that must be left before an item of both tokens is paid.
    /// @dev Like `ITEM_GAS`, with two transfers inside a call of this contract to itself.
    uint256 public constant HYBRID_ITEM_GAS = 240_000;

    /// @notice Only this contract itself may call this function.
    error OnlySelf();

    /// @inheritdoc IAffiliatePayout
    address public immutable override registry;

    /// @inheritdoc IAffiliatePayout
    mapping(bytes32 paymentId => uint256 blockNumber) public override paidAt;

    /// @param registry_ The registry that decides whom to pay.
    /// @param usdc_ The USDC token.
    /// @param sge_ The SGE token.
    /// @param roles Who holds which role.
    /// @param usdcLimits The first limits of USDC.
    /// @param sgeLimits The first limits of SGE.
    constructor(
        address registry_,
        address usdc_,
        address sge_,
        InitialRoles memory roles,
        TokenLimits memory usdcLimits,
        TokenLimits memory sgeLimits
    ) PayoutLimits(usdc_, sge_, usdcLimits, sgeLimits) AccessControlDefaultAdminRules(roles.adminDelay, roles.admin) {
        // Check
        if (registry_ == address(0)) revert ZeroAddress();

        // Effect
        registry = registry_;
        if (roles.relayer != address(0)) _grantRole(RELAYER_ROLE, roles.relayer);
        if (roles.pauser != address(0)) _grantRole(PAUSER_ROLE, roles.pauser);
        if (roles.limiter != address(0)) _grantRole(LIMITER_ROLE, roles.limiter);
        if (roles.treasurer != address(0)) _grantRole(TREASURER_ROLE, roles.treasurer);
    }

    /// @inheritdoc IAffiliatePayout
    function payAffiliateUSDC(bytes32 paymentId, address child, address referrer, uint256 usdcAmount)
        external
        override
        onlyRole(RELAYER_ROLE)
        whenNotPaused
        nonReentrant
    {
        _payOne(paymentId, child, referrer, usdcAmount, 0);
    }

    /// @inheritdoc IAffiliatePayout
    function payAffiliateHybrid(
        bytes32 paymentId,
        address child,
        address referrer,
        uint256 usdcAmount,
        uint256 sgeAmount
    ) external override onlyRole(RELAYER_ROLE) whenNotPaused nonReentrant {
        _payOne(paymentId, child, referrer, usdcAmount, sgeAmount);
    }

    /// @inheritdoc IAffiliatePayout
    function payAffiliateBatch(Payout[] calldata payouts)
        external
        override
        onlyRole(RELAYER_ROLE)
        whenNotPaused
        nonReentrant
        returns (PayoutOutcome[] memory outcomes)
    {
        uint256 count = payouts.length;
        outcomes = new PayoutOutcome[](count);
        (Budget memory usdcBudget, Budget memory sgeBudget) = _newBudgets();

        for (uint256 i = 0; i < count; ++i) {
            Payout calldata item = payouts[i];
            (PayoutOutcome outcome, bytes memory reason) = _payItem(item, usdcBudget, sgeBudget);
            if (outcome != PayoutOutcome.Paid) {
                outcomes[i] = outcome;
                emit PayoutFailed(item.paymentId, uint8(outcome), reason);
            }
        }

        _record(usdcBudget);
        _record(sgeBudget);
    }

    /// @notice Sends both tokens to `to`, or reverts with what the refusing token answered (bounded).
    /// @dev Only this contract itself calls this, to undo the first transfer when the second is refused.
    function sendBoth(address from, address to, uint256 usdcAmount, uint256 sgeAmount) external {
        // Check
        if (msg.sender != address(this)) revert OnlySelf();

        // Interaction
        (bool ok, bytes memory reason) = _send(usdc, from, to, usdcAmount, TRANSFER_GAS);
        if (ok) (ok, reason) = _send(sge, from, to, sgeAmount, TRANSFER_GAS);
        if (!ok) _revertWith(reason);
    }

    /// @inheritdoc IAffiliatePayout
    function setTreasury(address newTreasury) external override onlyRole(DEFAULT_ADMIN_ROLE) nonReentrant {
        // Effect
        emit TreasuryChanged(treasury, newTreasury);
        treasury = newTreasury;
    }

    /// @inheritdoc IAffiliatePayout
    function withdraw(address token, address to, uint256 amount)
        external
        override
        onlyRole(TREASURER_ROLE)
        nonReentrant
    {
        // Check
        if (to == address(0)) revert ZeroAddress();

        // Effect
        emit Withdrawn(token, to, amount);

        // Interaction
        IERC20(token).safeTransfer(to, amount);
    }

    /// @inheritdoc IAffiliatePayout
    function pause() external override onlyRole(PAUSER_ROLE) {
        _pause();
    }

    /// @inheritdoc IAffiliatePayout
    function unpause() external override onlyRole(DEFAULT_ADMIN_ROLE) {
        _unpause();
    }

    /// @inheritdoc IAffiliatePayout
    function paidAtBatch(bytes32[] calldata paymentIds) external view override returns (uint256[] memory blockNumbers) {
        uint256 count = paymentIds.length;
        blockNumbers = new uint256[](count);
        for (uint256 i = 0; i < count; ++i) {
            blockNumbers[i] = paidAt[paymentIds[i]];
        }
    }

    /// @inheritdoc IAffiliatePayout
    function available(address token) external view override onlyKnown(token) returns (uint256 amount) {
        return Math.min(_funds(token), _windowLeft(token));
    }

    /// @inheritdoc IAffiliatePayout
    function funds(address token) external view override onlyKnown(token) returns (uint256 amount) {
        return _funds(token);
    }

    /// @dev Pays one commission or reverts with the reason. Tokens get all the gas there is.
    function _payOne(bytes32 paymentId, address child, address referrer, uint256 usdcAmount, uint256 sgeAmount)
        private
    {
        // Check
        (Budget memory usdcBudget, Budget memory sgeBudget) = _newBudgets();
        (PayoutOutcome outcome, bytes memory reason) = _checkIdentity(paymentId, child, referrer, usdcAmount, sgeAmount);
        if (outcome == PayoutOutcome.Paid) {
            (outcome, reason) = _checkAmounts(usdcBudget, usdcAmount, sgeBudget, sgeAmount);
        }
        if (outcome != PayoutOutcome.Paid) _revertWith(reason);
        _requireGas(usdcAmount != 0 && sgeAmount != 0 ? HYBRID_ITEM_GAS : ITEM_GAS);

        // Effect
        paidAt[paymentId] = block.number;
        emit AffiliatePaid(paymentId, referrer, child, usdcAmount, sgeAmount);
        if (usdcAmount != 0) _consumeWindow(usdc, usdcAmount);
        if (sgeAmount != 0) _consumeWindow(sge, sgeAmount);

        // Interaction
        if (usdcAmount != 0) _sendOrRevert(usdc, referrer, usdcAmount);
        if (sgeAmount != 0) _sendOrRevert(sge, referrer, sgeAmount);
    }

    /// @dev Pays one item of a batch, or changes nothing and says why.
    function _payItem(Payout calldata item, Budget memory usdcBudget, Budget memory sgeBudget)
        private
        returns (PayoutOutcome outcome, bytes memory reason)
    {
        // Check
        uint256 usdcAmount = item.usdcAmount;
        uint256 sgeAmount = item.sgeAmount;
        (outcome, reason) = _checkIdentity(item.paymentId, item.child, item.referrer, usdcAmount, sgeAmount);
        if (outcome != PayoutOutcome.Paid) return (outcome, reason);
        (outcome, reason) = _checkAmounts(usdcBudget, usdcAmount, sgeBudget, sgeAmount);
        if (outcome != PayoutOutcome.Paid) return (outcome, reason);
        _requireGas(usdcAmount != 0 && sgeAmount != 0 ? HYBRID_ITEM_GAS : ITEM_GAS);

        // Effect
        paidAt[item.paymentId] = block.number;

        // Interaction
        bool ok;
        (ok, reason) = _sendItem(item.referrer, usdcAmount, sgeAmount);

        // Effect, safe after the interaction: every function that reads or writes these is `nonReentrant`.
        if (!ok) {
            delete paidAt[item.paymentId];
            return (PayoutOutcome.TransferFailed, reason);
        }
        if (usdcAmount != 0) _spend(usdcBudget, usdcAmount);
        if (sgeAmount != 0) _spend(sgeBudget, sgeAmount);
        emit AffiliatePaid(item.paymentId, item.referrer, item.child, usdcAmount, sgeAmount);
    }

    /// @dev Sends the amounts that are not zero, all or nothing. Only two of them need a call of their own to undo.
    function _sendItem(address to, uint256 usdcAmount, uint256 sgeAmount) private returns (bool, bytes memory) {
        address from = treasury;
        if (sgeAmount == 0) return _send(usdc, from, to, usdcAmount, TRANSFER_GAS);
        if (usdcAmount == 0) return _send(sge, from, to, sgeAmount, TRANSFER_GAS);
        try this.sendBoth(from, to, usdcAmount, sgeAmount) {
            return (true, "");
        } catch (bytes memory reason) {
            return (false, reason);
        }
    }

    function _sendOrRevert(address token, address to, uint256 amount) private {
        (bool ok, bytes memory reason) = _send(token, treasury, to, amount, gasleft());
        if (!ok) revert TransferFailed(token, reason);
    }

    /// @dev Records in the window, once for the whole batch, what left. What is spent never exceeds what was left.
    function _record(Budget memory budget) private {
        if (budget.spent != 0) _consumeWindow(budget.token, budget.spent);
    }

    /// @dev Reads cap, window and funds of a token on first need.
    function _open(Budget memory budget) private view {
        if (budget.opened) return;
        address token = budget.token;
        budget.opened = true;
        budget.cap = _capOf(token);
        budget.left = _windowLeft(token);
        _requireGas(FUNDS_GAS);
        budget.funds = _funds(token);
    }

    /// @dev Whether this payment may be made at all. `Paid` stands for yes.
    function _checkIdentity(bytes32 paymentId, address child, address referrer, uint256 usdcAmount, uint256 sgeAmount)
        private
        view
        returns (PayoutOutcome, bytes memory reason)
    {
        uint256 blockNumber = paidAt[paymentId];
        if (blockNumber != 0) {
            reason = abi.encodeWithSelector(AlreadyPaid.selector, paymentId, blockNumber);
            return (PayoutOutcome.AlreadyPaid, reason);
        }
        if (usdcAmount == 0 && sgeAmount == 0) {
            return (PayoutOutcome.ZeroAmount, abi.encodeWithSelector(ZeroAmount.selector));
        }
        address recorded = IAffiliateRegistry(registry).referrerOf(child);
        if (recorded == address(0)) {
            return (PayoutOutcome.NotRegistered, abi.encodeWithSelector(NotRegistered.selector, child));
        }
        if (recorded != referrer) {
            reason = abi.encodeWithSelector(WrongReferrer.selector, child, recorded, referrer);
            return (PayoutOutcome.WrongReferrer, reason);
        }
        return (PayoutOutcome.Paid, reason);
    }

    /// @dev Whether the amounts fit, the permanent reasons first. `Paid` stands for yes.
    function _checkAmounts(Budget memory usdcBudget, uint256 usdcAmount, Budget memory sgeBudget, uint256 sgeAmount)
        private
        view
        returns (PayoutOutcome, bytes memory reason)
    {
        if (usdcAmount != 0) _open(usdcBudget);
        if (sgeAmount != 0) _open(sgeBudget);

        if (usdcAmount > usdcBudget.cap) {
            return (PayoutOutcome.AboveCap, _excess(AboveCap.selector, usdc, usdcAmount, usdcBudget.cap));
        }
        if (sgeAmount > sgeBudget.cap) {
            return (PayoutOutcome.AboveCap, _excess(AboveCap.selector, sge, sgeAmount, sgeBudget.cap));
        }
        if (usdcAmount > usdcBudget.left) {
            reason = _excess(WindowExhausted.selector, usdc, usdcAmount, usdcBudget.left);
            return (PayoutOutcome.WindowExhausted, reason);
        }
        if (sgeAmount > sgeBudget.left) {
            reason = _excess(WindowExhausted.selector, sge, sgeAmount, sgeBudget.left);
            return (PayoutOutcome.WindowExhausted, reason);
        }
        if (usdcAmount > usdcBudget.funds) {
            return (PayoutOutcome.FundsLow, _excess(FundsLow.selector, usdc, usdcAmount, usdcBudget.funds));
        }
        if (sgeAmount > sgeBudget.funds) {
            return (PayoutOutcome.FundsLow, _excess(FundsLow.selector, sge, sgeAmount, sgeBudget.funds));
        }
        return (PayoutOutcome.Paid, reason);
    }

    /// @dev Keeps gas shortage from ever looking like a refusal by a token (a call gets at most 63/64 of what is left).
    function _requireGas(uint256 required) private view {
        uint256 left = gasleft();
        if (left < required) revert InsufficientGas(left, required);
    }

    function _newBudgets() private view returns (Budget memory usdcBudget, Budget memory sgeBudget) {
        usdcBudget.token = usdc;
        sgeBudget.token = sge;
    }

    function _spend(Budget memory budget, uint256 amount) private pure {
        // Cannot wrap: `_checkAmounts` has compared `amount` with `left` and `funds`, and `spent` is below the window.
        unchecked {
            budget.left -= amount;
            budget.funds -= amount;
            budget.spent += amount;
        }
    }

    function _excess(bytes4 selector, address token, uint256 amount, uint256 bound)
        private
        pure
        returns (bytes memory)
    {
        return abi.encodeWithSelector(selector, token, amount, bound);
    }

    function _revertWith(bytes memory reason) private pure {
        assembly ("memory-safe") {
            revert(add(reason, 32), mload(reason))
        }
    }
}
