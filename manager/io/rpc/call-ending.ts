import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';

/**
 * Has a call end with the first status that it is given. gRPC gives it one by itself when bytes come that are no message,
 * or too many, or that do not decompress; what a handler writes after that would go behind the end of the HTTP/2 stream, which then
 * neither sends the status nor ends.
 */
export function endWithStatus(call: ServerInterceptingCallInterface): void {
  let hasEnded = false;
  const sendStatus = call.sendStatus.bind(call);
  const sendMessage = call.sendMessage.bind(call);
  call.sendStatus = (status) => {
    hasEnded = true;
    sendStatus(status);
  };
  call.sendMessage = (message, onSent) => {
    if (!hasEnded) sendMessage(message, onSent);
  };
}
