import * as v from 'valibot';

/** Body of `POST /apiary/v1/join-tokens`. */
export const JoinTokenRequestSchema = v.strictObject({
  /** `worker` or `manager`. */
  Role: v.string(),
  /** What every node that joins with it is labelled with. */
  Labels: v.optional(v.record(v.string(), v.string())),
  /** 0: until it is removed. */
  ValidityNs: v.optional(v.pipe(v.number(), v.safeInteger())),
});
export type JoinTokenRequest = v.InferOutput<typeof JoinTokenRequestSchema>;

/** A join token beside the two of `GET /swarm`. Times are RFC 3339 in UTC; `ExpiresAt` is empty for one that does not. */
export interface BoundJoinToken {
  ID: string;
  Role: string;
  Labels: Record<string, string>;
  Token: string;
  CreatedAt: string;
  ExpiresAt: string;
}
