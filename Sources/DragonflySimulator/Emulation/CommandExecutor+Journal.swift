/// A MULTI block or a script that is being executed.
struct TransactionBlock {
    /// 0 if all its keys lie on one shard.
    var transaction: UInt64
    /// The flows that have entries of it.
    var flows: Set<Int> = []
}

/// How commands get into the journals (protocol.md 5.2, 5.5, 5.6).
extension CommandExecutor {
    /// Records an entry of a call.
    func record(_ words: [[UInt8]], _ call: inout CommandCall, flow: Int) {
        var entry = JournalEntry(database: call.database, words: words)
        entry.transaction = transaction(&call)
        if release.number < 1038, call.countsFlows { entry.shardCount = max(call.flows.count, 1) }
        if block != nil {
            block?.flows.insert(flow)
            if release.number <= 1020 { entry.operation = .multiCommand }
        }
        entries.append((flow, entry))
    }

    /// Records an entry on the flow of its key, which is its second word.
    func record(_ words: [[UInt8]], _ call: inout CommandCall) {
        record(words, &call, flow: flow(of: words[1]))
    }

    private func transaction(_ call: inout CommandCall) -> UInt64 {
        if let block { return block.transaction }
        if let transaction = call.transaction { return transaction }
        let needsOne = call.flows.count > 1 || call.hasSteps
        let transaction = needsOne ? takeTransaction() : 0
        call.transaction = transaction
        return transaction
    }

    /// Records a call as it is, or each shard's slice of it: the keys of that shard with their
    /// values and nothing else (6.1). What is not repeated for each key is lost in slices (6.8).
    func recordSlices(_ call: inout CommandCall) {
        if call.flows.count <= 1 {
            record(call.words, &call, flow: call.flows.first ?? 0)
            return
        }
        var step = 1
        if case .every(let count) = call.rule.keys { step = count }
        for flow in call.flows {
            var slice = [call.words[0]]
            for position in call.keyPositions where self.flow(of: call.words[position]) == flow {
                slice += call.words[position..<position + step]
            }
            record(slice, &call, flow: flow)
        }
    }

    /// Records the deletion of a key that has expired or was evicted (5.10).
    func recordDeletion(_ name: KeyName) {
        var entry = JournalEntry(database: name.database, words: [text("DEL"), name.key])
        if release.number < 1038 { entry.operation = .expired }
        entries.append((flow(of: name.key), entry))
    }

    // MARK: - Blocks

    /// Begins a MULTI block or a script with these commands. It has a transaction id if its keys
    /// lie on several shards, and up to v1.20, which brackets blocks, in any case (5.6).
    func openBlock(_ commands: [[[UInt8]]]) {
        var flows: Set<Int> = []
        for words in commands {
            guard let name = words.first, let rule = CommandRule.find(name),
                words.count >= rule.minimumWords
            else { continue }
            for position in rule.positions(words) ?? [] {
                flows.insert(flow(of: words[position]))
            }
            if rule.behaviour.isFlush { flows.formUnion(0..<flowCount) }
        }
        let needsOne = flows.count > 1 || release.number <= 1020
        block = TransactionBlock(transaction: needsOne ? takeTransaction() : 0)
    }

    /// Ends the block; up to v1.20 each of its shards records that.
    func closeBlock(database: Int) {
        guard let block else { return }
        self.block = nil
        guard release.number <= 1020 else { return }
        for flow in block.flows.sorted() {
            entries.append(
                (
                    flow,
                    JournalEntry(
                        operation: .exec, database: database, transaction: block.transaction,
                        shardCount: block.flows.count, words: [])
                ))
        }
    }
}
