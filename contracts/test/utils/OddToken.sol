// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @dev A token that misbehaves in a chosen way towards a chosen recipient, or when it is read.
contract OddToken {
    enum Transfer {
        Good,
        False,
        Nothing,
        Revert,
        BurnAll,
        HugeTrue,
        Two,
        Short,
        Reenter
    }

    enum Read {
        Good,
        Revert,
        BurnAll,
        Short,
        Costly
    }

    mapping(address account => uint256) private _balances;
    mapping(address owner => mapping(address spender => uint256)) private _allowances;
    mapping(address recipient => Transfer) public transferMode;
    Read public readMode;
    uint256 public revertBytes;
    address public target;
    bytes public reentry;
    bytes public reentryError;

    function mint(address to, uint256 amount) external {
        _balances[to] += amount;
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        _allowances[msg.sender][spender] = amount;
        return true;
    }

    function setTransferMode(address recipient, Transfer mode) external {
        transferMode[recipient] = mode;
    }

    function setReadMode(Read mode) external {
        readMode = mode;
    }

    function setRevertBytes(uint256 size) external {
        revertBytes = size;
    }

    function setReentry(address target_, bytes calldata data) external {
        target = target_;
        reentry = data;
    }

    function balanceOf(address account) external view returns (uint256) {
        _read();
        return _balances[account];
    }

    function allowance(address owner, address spender) external view returns (uint256) {
        _read();
        return _allowances[owner][spender];
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        return _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        _allowances[from][msg.sender] -= amount;
        return _move(from, to, amount);
    }

    function _move(address from, address to, uint256 amount) private returns (bool) {
        Transfer mode = transferMode[to];
        if (mode == Transfer.False) return false;
        if (mode == Transfer.BurnAll) {
            while (true) {}
        }
        if (mode == Transfer.Revert) {
            uint256 size = revertBytes;
            assembly ("memory-safe") {
                let data := mload(0x40)
                mstore(data, not(0))
                revert(data, size)
            }
        }
        if (mode == Transfer.Reenter) {
            (bool ok, bytes memory answered) = target.call(reentry);
            require(!ok, "reentered");
            reentryError = answered;
        }
        _balances[from] -= amount;
        _balances[to] += amount;
        uint256 answer = mode == Transfer.Two ? 2 : 1;
        uint256 length = 32;
        if (mode == Transfer.Nothing) length = 0;
        if (mode == Transfer.HugeTrue) length = 20_000;
        if (mode == Transfer.Short) length = 31;
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, answer)
            return(data, length)
        }
    }

    function _read() private view {
        if (readMode == Read.Revert) revert("unreadable");
        if (readMode == Read.BurnAll) {
            while (true) {}
        }
        if (readMode == Read.Costly) {
            uint256 left = gasleft() - 24_000;
            while (gasleft() > left) {}
        }
        if (readMode == Read.Short) {
            assembly {
                return(0, 31)
            }
        }
    }
}
