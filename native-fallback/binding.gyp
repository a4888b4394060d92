{
  "targets": [
    {
      "target_name": "fairlock",
      "sources": [
        "src/binding.c", "src/bulletin.c", "src/cancel.c", "src/exec.c", "src/files.c", "src/process.c", "src/waiter.c", "src/waits.c"
      ],
      "defines": ["NAPI_VERSION=8", "_GNU_SOURCE"],
      "cflags": ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-cast-function-type", "-fvisibility=hidden", "-O2"],
      "ldflags": ["-Wl,-z,nodelete"],
      "conditions": [
        ["OS=='mac'", { "xcode_settings": { "OTHER_CFLAGS": ["-std=c11", "-Wall", "-Wextra", "-Werror"], "MACOSX_DEPLOYMENT_TARGET": "11.0" } }]
      ]
    }
  ]
}
