import type { Entry, Message, Position } from '@apiary/raft/core';

/** Entry 5 of term 2 is 5/2. */
export function place({ index, term }: Position): string {
  return `${index}/${term}`;
}

export function describeEntry(entry: Entry): string {
  switch (entry.type) {
    case 'empty':
      return place(entry);
    case 'command':
      return `${place(entry)} "${Buffer.from(entry.data).toString()}"`;
    case 'membership': {
      const { voters, learners } = entry.membership;
      return `${place(entry)} voters ${voters.join('+')}${learners.length > 0 ? `, learners ${learners.join('+')}` : ''}`;
    }
  }
}

export function describeMessage(message: Message): string {
  return `${message.from} -> ${message.to}: ${message.type} in term ${message.term}${details(message)}`;
}

function details(message: Message): string {
  switch (message.type) {
    case 'pre-vote-request':
      return `, log to ${place(message.last)}`;
    case 'vote-request':
      return `, log to ${place(message.last)}${message.isTransfer ? ', as asked to' : ''}`;
    case 'pre-vote-response':
    case 'vote-response':
      return message.isGranted ? ', granted' : ', refused';
    case 'append-request': {
      const entries = message.entries.map(describeEntry).join(', ') || 'nothing';
      return `, after ${place(message.previous)}: ${entries}; commit ${message.commit}`;
    }
    case 'append-response':
      return message.outcome.type === 'accepted'
        ? `, has ${message.outcome.matchIndex}`
        : `, lacks ${message.outcome.rejectedIndex}, perhaps has ${place(message.outcome.hint)}`;
    case 'heartbeat-request':
      return `, commit ${message.commit}, round ${message.round}`;
    case 'heartbeat-response':
      return `, round ${message.round}`;
    case 'snapshot-chunk':
      return `, of ${place(message.snapshot)} from byte ${message.offset}${message.isLast ? ', the last' : ''}`;
    case 'snapshot-response':
      return `, of ${message.snapshotIndex} kept ${message.nextOffset} bytes`;
    case 'read-request':
      return `, ${message.readId}`;
    case 'read-response':
      return `, ${message.readId} after ${message.index}`;
    case 'timeout-now':
    case 'term-notice':
      return '';
  }
}
