{
  "targets": [
    {
      "target_name": "agent_native",
      "sources": [
        "native/addon.cc",
        "native/arguments.cc",
        "native/bpf-link.cc",
        "native/bpf-map.cc",
        "native/bpf-object.cc",
        "native/bpf-program.cc",
        "native/fuse.cc",
        "native/lane.cc",
        "native/monitor.cc",
        "native/namespaces.cc",
        "native/netlink.cc",
        "native/netlink-exchange.cc",
        "native/system.cc"
      ],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NAPI_CPP_EXCEPTIONS", "_GNU_SOURCE"],
      "cflags!": ["-fno-exceptions"],
      "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["-std=c++17", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter"],
      "ldflags": ["-static-libstdc++", "-static-libgcc", "-Wl,--exclude-libs,ALL"]
    }
  ]
}
