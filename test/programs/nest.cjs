// A NestJS application whose route and job are locked: each says whether the lock is held while it runs.
require('reflect-metadata');
const { Controller, Get, Module } = require('@nestjs/common');
const { NestFactory } = require('@nestjs/core');
const { Interval, ScheduleModule } = require('@nestjs/schedule');
const { InterProcessLock } = require('fairlock');
const { interProcessLocked } = require('fairlock/decorators');

const file = process.argv[2];
const held = () => (new InterProcessLock(file).isLocked() ? 'held' : 'free');
let ran;
const jobRan = new Promise((resolve) => {
  ran = resolve;
});

class Service {
  async get() {
    return `GET / ${held()}`;
  }
  async job() {
    ran(`job ${held()}`);
  }
}
const decorate = (decorators, target, name) => {
  // As TypeScript does with experimentalDecorators: the last one first.
  const first = Object.getOwnPropertyDescriptor(target, name);
  const last = decorators.reduceRight((descriptor, one) => one(target, name, descriptor) ?? descriptor, first);
  Object.defineProperty(target, name, last);
};
decorate([interProcessLocked(file), Get()], Service.prototype, 'get');
decorate([interProcessLocked(file), Interval(10)], Service.prototype, 'job');
Controller()(Service);

class App {}
Module({ imports: [ScheduleModule.forRoot()], controllers: [Service] })(App);

(async () => {
  const app = await NestFactory.create(App, { logger: false });
  await app.listen(0, '127.0.0.1');
  const answer = await fetch(await app.getUrl());
  console.log(await answer.text());
  console.log(await jobRan);
  await app.close();
  process.exit();
})();
