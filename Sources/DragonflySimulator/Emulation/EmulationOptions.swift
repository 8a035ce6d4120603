/// How much of a shard's journal a master keeps for partial syncs (protocol.md 8.5).
public enum BacklogLimit: Sendable, Equatable {
    /// At most this many entries.
    case entries(Int)
    /// Entries of the last `milliseconds`, at most `bytes` bytes of them.
    case age(milliseconds: Int, bytes: Int)
}

/// An emulated master: its release, its shards, and its settings. The defaults are that release's.
public struct EmulationOptions: Sendable {
    public let release: EmulatedRelease
    /// Shards, hence flows, at least 1.
    public var flowCount: Int
    public var stream = StreamOptions()
    /// Of the master id, the order in which buckets are captured, and the chunks.
    public var seed: UInt64 = 1
    /// How many keys share a bucket on average: what a write captures at once in a full sync.
    public var keysPerBucket = 8
    /// Time that each flow rests after a captured bucket, microseconds.
    public var bucketPauseMicroseconds = 0
    /// SET and DEL of keys whose bucket is not captured yet stay out of the journal blobs
    /// (`journal_omit_redundant_writes`, protocol.md 3.8).
    public var omitsRedundantWrites: Bool
    /// An LSN marker follows an entry when the last marker is this old; 0 sends one after each.
    public var markerIntervalMilliseconds = 4000
    public var backlog: BacklogLimit
    /// `replication_stream_output_limit`: a writer waits while a flow has more unsent bytes.
    public var outputLimitBytes: Int
    /// `replication_timeout`: how long one write to a flow may block in a full sync.
    public var replicationTimeoutMilliseconds = 30_000
    /// How long a writer waits for a flow before the session is cancelled.
    public var writerTimeoutMilliseconds: Int
    /// What CONFIG GET point_in_time_snapshot answers, v1.32 to v1.37; the snapshot is one anyway.
    public var isPointInTime = true
    /// What CONFIG GET memcached_port answers; 0 means that no memcached client is served.
    public var memcachedPort = 0
    /// A PING entry must be acknowledged within this time after it was sent.
    public var pingLimitMilliseconds = 1000

    public init(release: EmulatedRelease = .newest, flowCount: Int = 2) {
        precondition(flowCount >= 1 && flowCount <= 1024)
        self.release = release
        self.flowCount = flowCount
        omitsRedundantWrites = release == .newest
        outputLimitBytes = release == .v1_20 ? 64 << 10 : 1 << 20
        // 1.20 has a limit of its own, replication_stream_timeout (protocol.md 2.11).
        writerTimeoutMilliseconds = release == .v1_20 ? 500 : 30_000
        backlog =
            switch release {
            case .v1_20, .v1_30: .entries(1024)
            case .v1_35, .v1_40: .entries(8192)
            case .newest: .age(milliseconds: 5000, bytes: 64 << 20)
            }
    }
}

/// What an emulated master did so far.
public struct EmulationCounters: Sendable, Equatable {
    /// Entries that got an LSN, on all shards.
    public var records = 0
    /// Entries that went into a full sync as journal blobs.
    public var blobs = 0
    /// Entries left out of a full sync (`omitsRedundantWrites`).
    public var omitted = 0
    /// Keys written into snapshots.
    public var baselines = 0
    /// Tagged chunks sent.
    public var chunks = 0
    /// The largest number of chunk ids that were open at once on a flow.
    public var openChunkIds = 0
    /// The longest time that a writer waited for a flow, milliseconds.
    public var longestWriterWaitMilliseconds = 0
    /// Sessions cancelled because a flow took too long.
    public var timeouts = 0
}
