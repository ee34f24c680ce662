// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Payout, PayoutOutcome} from "../types/DataTypes.sol";

/// @title Affiliate payout
/// @notice Pays commissions to recorded referrers, each payment id at most once, within caps and rolling windows.
/// @dev All amounts are base units of the respective token. All times are unix seconds.
interface IAffiliatePayout {
    /// @notice A commission was paid.
    event AffiliatePaid(
        bytes32 indexed paymentId,
        address indexed referrer,
        address indexed child,
        uint256 usdcAmount,
        uint256 sgeAmount
    );

    /// @notice An item of a batch was not paid; nothing moved for it.
    /// @param outcome A `PayoutOutcome` other than `Paid`.
    /// @param reason At most 256 bytes of the token's revert data where `outcome` is `TransferFailed`, else the
    /// ABI-encoded error that the single call would have reverted with.
    event PayoutFailed(bytes32 indexed paymentId, uint8 outcome, bytes reason);

    /// @notice The cap per payout of `token` changed.
    event PayoutCapChanged(address indexed token, uint256 previousCap, uint256 newCap);

    /// @notice The rolling window of `token` changed.
    event WindowChanged(
        address indexed token, uint256 previousLimit, uint48 previousWindow, uint256 newLimit, uint48 newWindow
    );

    /// @notice Payouts are funded from `newTreasury` (zero address: from this contract's own balance).
    event TreasuryChanged(address indexed previousTreasury, address indexed newTreasury);

    /// @notice A treasurer took `amount` of `token` out of this contract.
    event Withdrawn(address indexed token, address indexed to, uint256 amount);

    /// @notice The payment id was paid at `blockNumber`.
    error AlreadyPaid(bytes32 paymentId, uint256 blockNumber);

    /// @notice Both amounts are zero.
    error ZeroAmount();

    /// @notice An address that must be set is the zero address.
    error ZeroAddress();

    /// @notice The registry knows no referrer for `child`.
    error NotRegistered(address child);

    /// @notice The registry knows `recorded`, not `given`, as the referrer of `child`.
    error WrongReferrer(address child, address recorded, address given);

    /// @notice `amount` is above the cap per payout of `token`.
    error AboveCap(address token, uint256 amount, uint256 cap);

    /// @notice `amount` is above what the rolling window of `token` has left.
    error WindowExhausted(address token, uint256 amount, uint256 left);

    /// @notice `amount` is above the funds at hand for `token`.
    error FundsLow(address token, uint256 amount, uint256 funds);

    /// @notice `token` refused the transfer with `reason`.
    error TransferFailed(address token, bytes reason);

    /// @notice The gas left could starve an item of the batch; the whole batch reverts.
    error InsufficientGas(uint256 left, uint256 required);

    /// @notice `token` is neither USDC nor SGE.
    error UnknownToken(address token);

    /// @notice A limiter may only tighten: cap or limit down, window up.
    error NotTightening();

    /// @notice Pays `usdcAmount` of USDC to `referrer`.
    /// @dev Caller needs `RELAYER_ROLE`; reverts while paused.
    function payAffiliateUSDC(bytes32 paymentId, address child, address referrer, uint256 usdcAmount) external;

    /// @notice Pays `usdcAmount` of USDC and `sgeAmount` of SGE to `referrer`, both or neither.
    /// @dev Caller needs `RELAYER_ROLE`; reverts while paused.
    function payAffiliateHybrid(
        bytes32 paymentId,
        address child,
        address referrer,
        uint256 usdcAmount,
        uint256 sgeAmount
    ) external;

    /// @notice Pays many commissions. A failing item changes nothing for the others and is reported by `PayoutFailed`.
    /// @dev Caller needs `RELAYER_ROLE`; reverts while paused, and wholly when the gas left could starve an item.
    /// @return outcomes One per item, in order.
    function payAffiliateBatch(Payout[] calldata payouts) external returns (PayoutOutcome[] memory outcomes);

    /// @notice Sets the cap per payout of `token`: 0 closes it, `type(uint256).max` switches it off.
    /// @dev The admin may set any value, `LIMITER_ROLE` only a lower one.
    function setPayoutCap(address token, uint256 cap) external;

    /// @notice Sets the rolling window of `token`: at most `limit` leaves in any `window` seconds; a limit of 0 closes
    /// it, `type(uint208).max` switches it off. What left is given back after the window, and at most a quarter of it later.
    /// @dev The admin may set any value, `LIMITER_ROLE` only a lower or equal limit with a longer or equal window.
    function setWindow(address token, uint208 limit, uint48 window) external;

    /// @notice Funds payouts from `treasury` under its allowance; the zero address: from this contract's own balance.
    /// @dev Admin only.
    function setTreasury(address treasury) external;

    /// @notice Takes `amount` of `token` (any ERC-20) out of this contract.
    /// @dev Caller needs `TREASURER_ROLE`. Works while paused.
    function withdraw(address token, address to, uint256 amount) external;

    /// @notice Stops payouts at once. Caller needs `PAUSER_ROLE`.
    function pause() external;

    /// @notice Lets payouts flow again. Admin only.
    function unpause() external;

    /// @notice The block in which `paymentId` was paid, or 0.
    function paidAt(bytes32 paymentId) external view returns (uint256 blockNumber);

    /// @notice `paidAt` of many payment ids, in order.
    function paidAtBatch(bytes32[] calldata paymentIds) external view returns (uint256[] memory blockNumbers);

    /// @notice What can be paid of `token` now: the lesser of `funds` and what the window has left.
    function available(address token) external view returns (uint256 amount);

    /// @notice The funds at hand for `token`: own balance, or the treasury's balance under its allowance.
    function funds(address token) external view returns (uint256 amount);

    /// @notice The limits of `token` and what its window has left now.
    function limits(address token)
        external
        view
        returns (uint256 cap, uint256 limit, uint48 window, uint256 used, uint256 left);

    /// @notice The registry that decides whom to pay.
    function registry() external view returns (address);

    /// @notice The USDC token.
    function usdc() external view returns (address);

    /// @notice The SGE token.
    function sge() external view returns (address);

    /// @notice Where payouts are funded from; the zero address means this contract's own balance.
    function treasury() external view returns (address);

    /// @notice Whether the contract is paused.
    function paused() external view returns (bool);

    /// @notice Whether `account` holds `role`.
    function hasRole(bytes32 role, address account) external view returns (bool);
}
