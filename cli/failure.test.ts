import { expect, test } from 'vitest';
import { CliError, describeFailure, errorOfAnswer } from './failure.ts';

const problem = {
  type: '/docs#NETWORK_UNKNOWN',
  title: 'The destination network does not exist',
  status: 422,
  detail: 'The cluster has no network X.',
  instance: '/api/v1/migrations',
  code: 'NETWORK_UNKNOWN',
  remedy: 'Map each network to one that it has: VM Network.',
  retry: 'permanent',
  requestId: 'r-7',
};

test('a problem is shown with title, detail, remedy and what to find it by', () => {
  expect(describeFailure(errorOfAnswer(422, problem), false)).toBe(
    [
      'Error: The destination network does not exist',
      '  The cluster has no network X.',
      'What to do: Map each network to one that it has: VM Network.',
      '(NETWORK_UNKNOWN, request r-7)',
    ].join('\n'),
  );
});

test('with --json the problem comes as it is', () => {
  expect(JSON.parse(describeFailure(errorOfAnswer(422, problem), true))).toEqual(problem);
});

test('an answer that is no problem document says where to look', () => {
  expect(describeFailure(errorOfAnswer(502, '<html>'), false)).toContain('LANDFALL_URL');
});

test('a failure of the command line has a remedy too', () => {
  expect(describeFailure(new CliError('T', 'detail', 'do this'), false)).toBe(
    'Error: T\n  detail\nWhat to do: do this',
  );
});
