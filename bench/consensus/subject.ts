/** A cluster of three members that answers `Put`. */
export interface Subject {
  name: string;
  /** Where the member listens that leads now. */
  leaderAddress(): Promise<string>;
  stop(): Promise<void>;
}

export const MEMBERS = 3;
