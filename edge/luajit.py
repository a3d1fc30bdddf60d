"""`python luajit.py PROGRAM [arguments]`: runs Lua in the very LuaJIT that nginx's module uses, without nginx."""

import ctypes
import ctypes.util
import sys

MULTIPLE_RESULTS = -1
GLOBALS = -10002  # LUA_GLOBALSINDEX of Lua 5.1


def library() -> str | None:
    """Name of LuaJIT's library; None where it is not installed."""
    return ctypes.util.find_library("luajit-5.1")


def run(name: str, program: str, arguments: list[str]) -> str | None:
    """Run a file to its end with the global `arg`; returns what it failed with, if it did."""
    lua = ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
    lua.luaL_newstate.restype = ctypes.c_void_p
    lua.lua_tolstring.restype = ctypes.c_char_p
    state = ctypes.c_void_p(lua.luaL_newstate())
    lua.luaL_openlibs(state)
    lua.lua_createtable(state, len(arguments), 0)
    for number, argument in enumerate(arguments, start=1):
        lua.lua_pushstring(state, argument.encode())
        lua.lua_rawseti(state, -2, number)
    lua.lua_setfield(state, GLOBALS, b"arg")
    failed = lua.luaL_loadfile(state, program.encode()) or lua.lua_pcall(state, 0, MULTIPLE_RESULTS, 0)
    words = lua.lua_tolstring(state, -1, None) if failed else None
    lua.lua_close(state)
    return words.decode(errors="replace") if words else None


if __name__ == "__main__":
    found = library()
    sys.exit("LuaJIT is not installed" if found is None else run(found, sys.argv[1], sys.argv[2:]))
