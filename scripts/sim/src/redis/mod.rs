//! A Redis in memory: the commands that the scripts and the store use, and the scripts themselves, run by Lua.
