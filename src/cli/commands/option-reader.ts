/** Reads the value of an option as `read` does; what is wrong with it is said with the option's name. */
import { InvalidArgumentError } from 'commander';
import { messageOf } from '../../errors.js';

export function reader<T>(read: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return read(text);
    } catch (error) {
      throw new InvalidArgumentError(messageOf(error));
    }
  };
}
