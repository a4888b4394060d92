// Four workers of a service, of which one at a time does the periodic work: pm2 start ecosystem.config.cjs
module.exports = {
  apps: [
    {
      name: 'service',
      script: `${__dirname}/service.mjs`,
      exec_mode: 'cluster',
      instances: 4,
      // On a reload PM2 sends SIGINT, and kills after this many ms: longer than one piece of the work takes.
      kill_timeout: 10_000,
    },
  ],
};
