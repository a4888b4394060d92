{
  "targets": [
    {
      "target_name": "fairlock",
      "sources": [
        "src/cancel.c", "src/exec.c", "src/lock_wait.c", "src/napi_env.c", "src/napi_files.c", "src/napi_process.c", "src/napi_waits.c",
        "src/seats.c", "src/thread_registry.c", "src/threads.c", "src/worker.c"
      ],
      "defines": ["NAPI_VERSION=8", "_GNU_SOURCE"],
      "cflags": ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-cast-function-type", "-fvisibility=hidden", "-O2"],
      "ldflags": ["-Wl,-z,nodelete", "-s"],
      "conditions": [
        ["OS=='mac'", { "xcode_settings": { "OTHER_CFLAGS": ["-std=c11", "-Wall", "-Wextra", "-Werror"], "MACOSX_DEPLOYMENT_TARGET": "11.0" } }]
      ]
    }
  ]
}
