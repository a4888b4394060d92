/**
 * Runs with every test file: the files of a worker share their modules, so a hook in one of those would be registered
 * for the first file only; and one that is registered while another hook or a test runs is never called.
 */
import { afterAll, afterEach } from 'vitest';
import { endAll } from './ends.js';
import { endPrograms } from './programs.js';

afterEach(endPrograms);
afterAll(endAll);
