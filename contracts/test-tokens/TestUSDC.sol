// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

/// @title A stand-in for USDC on development chains
/// @notice 6 decimals, a blocklist, a pause, and a way to make transfers to one recipient burn gas. Worth nothing.
contract TestUSDC is ERC20, Ownable, Pausable {
    /// @notice `account` is on the blocklist.
    error Blocklisted(address account);

    /// @notice `account` was put on the blocklist, or taken off it.
    event BlocklistChanged(address indexed account, bool blocked);

    struct Account {
        bool blocklisted;
        uint64 burnedGas;
    }

    mapping(address account => Account) private _accounts;

    constructor(address owner_) ERC20("Test USD Coin", "USDC") Ownable(owner_) {}

    /// @notice Makes `amount` for `to`. Owner only.
    function mint(address to, uint256 amount) external onlyOwner {
        _mint(to, amount);
    }

    /// @notice Puts `account` on the blocklist, or takes it off. Owner only.
    function setBlocklisted(address account, bool blocked) external onlyOwner {
        _accounts[account].blocklisted = blocked;
        emit BlocklistChanged(account, blocked);
    }

    /// @notice Makes transfers to `recipient` burn `amount` of gas. Owner only.
    function setBurnedGas(address recipient, uint64 amount) external onlyOwner {
        _accounts[recipient].burnedGas = amount;
    }

    /// @notice Stops all transfers. Owner only.
    function pause() external onlyOwner {
        _pause();
    }

    /// @notice Lets transfers flow again. Owner only.
    function unpause() external onlyOwner {
        _unpause();
    }

    /// @notice Whether `account` may neither send nor receive.
    function blocklisted(address account) external view returns (bool) {
        return _accounts[account].blocklisted;
    }

    /// @notice The gas that a transfer to `recipient` burns besides its own work.
    function burnedGas(address recipient) external view returns (uint256) {
        return _accounts[recipient].burnedGas;
    }

    /// @notice USDC has 6 decimals.
    function decimals() public pure override returns (uint8) {
        return 6;
    }

    function _update(address from, address to, uint256 amount) internal override whenNotPaused {
        if (_accounts[from].blocklisted) revert Blocklisted(from);
        Account memory recipient = _accounts[to];
        if (recipient.blocklisted) revert Blocklisted(to);
        if (recipient.burnedGas != 0) _burnGas(recipient.burnedGas);
        super._update(from, to, amount);
    }

    function _burnGas(uint256 amount) private view {
        uint256 start = gasleft();
        while (start - gasleft() < amount) {}
    }
}
