internal import Bytes
internal import Reactor
internal import RedisTarget
internal import Wire

/// Fields and members that df2redis removes when they are due.
extension Core {
    func checkElementTimers() {
        guard settings.types.expiresByUs, settings.stateDirectory == nil else { return }
        fail(
            .refused,
            "\"expire-by-us\" keeps what is to be removed in a state directory; name one, or choose "
                + "another policy for such expiries")
    }

    /// Takes up what an earlier run left, if this one goes on where that ended.
    func openElementTimers() {
        guard settings.types.expiresByUs, let directory = settings.stateDirectory else { return }
        do throws(SystemError) {
            let timers = try ElementTimers(
                directory: directory, resumes: settings.position != nil)
            var keys: [(database: Int, name: [UInt8])] = []
            timers.forEachKey { keys.append(($0, $1)) }
            journalWriter.elementExpiries.timers = consume timers
            for key in keys {
                key.name.withByteView {
                    journalWriter.elementExpiries.insert(database: key.database, key: $0)
                }
            }
        } catch {
            failElementTimers(error)
        }
    }

    /// Removes what is due from the target, and has everything on disk before an ACK passes it.
    ///
    /// Between two records of their flow any moment is right: a record that comes later and sets the
    /// element brings its value along, and of others the key is read again.
    func removeDueElements() {
        guard journalWriter.elementExpiries.timers != nil else { return }
        do throws(DecodeError) {
            // Not into the transaction of a value that is half written, nor into a flush that takes
            // several turns: it may take the element along.
            if isTargetUsable, !isLeaving, entries?.buildingFlow == -1, flowsAtFlush == 0 {
                try sendDueElements()
            }
        } catch {
            fail(.interrupted, "no memory to remove an element that has expired")
        }
        do throws(SystemError) {
            try journalWriter.elementExpiries.timers?.sync()
        } catch {
            failElementTimers(error)
        }
        if journalWriter.elementExpiries.timers?.isFull == true {
            fail(
                .interrupted,
                "more fields and members have an expiry than \"expire-by-us\" can keep in memory; "
                    + "run again with another policy for them (types.hashFieldExpiry, "
                    + "types.setMemberExpiry)")
        }
    }

    private func sendDueElements() throws(DecodeError) {
        let now = reactor.unixMilliseconds
        while let due = journalWriter.elementExpiries.timers?.nextDue(now: now) {
            // The value that is being read or built says what becomes of it; and the target may have
            // the key.
            let isDoubtful = due.key.withByteView {
                let name = sourceName(due.database, $0)
                return repairs.isDoubtful(database: name.database, key: name.key)
                    || conflicts.isUnanswered(database: name.database, key: name.key)
                    || shadows?.isBuilding(database: due.database, key: $0) ?? false
            }
            guard !isDoubtful else {
                journalWriter.elementExpiries.timers?.postpone(now: now)
                continue
            }
            let bytes = due.key.count + due.element.count + TargetConnection.argumentBytes(8) * 3
            let connection = due.key.withByteView { nodes.connection(for: $0) }
            // One on its way holds up the others, for moments.
            guard let connection else { return }
            target = connection
            guard
                try target.begin(
                    flow: due.flow, database: due.database, bytes: bytes, demand: .nothing)
            else { return }
            target.header(arguments: 3)
            target.argument(due.isSet ? "SREM" : "HDEL")
            due.key.withByteView { target.argument($0) }
            due.element.withByteView { target.argument($0) }
            target.end(
                .element, flow: due.flow, database: due.database,
                nextLSN: UInt64(clamping: due.expiry))
            journalWriter.elementExpiries.timers?.isSent()
        }
    }

    func settleElement(_ reply: TargetReply) {
        let command = reply.command
        guard let bytes = target.bytes(of: command), var arguments = RESPArguments(bytes),
            arguments.next() != nil, let key = arguments.next(), let element = arguments.next()
        else { preconditionFailure("the ring keeps a command until it is answered") }
        let expiry = Int64(clamping: command.nextLSN)
        let database = Int(command.database)
        guard reply.reply.hasError else {
            totals.elementsRemoved += 1
            journalWriter.elementExpiries.timers?.remove(
                database: database, key: key, element: element.array(), expiry: expiry)
            return
        }
        // Another type, for instance. What has nothing to do with the key passes.
        let isMarked = ownFlow(Int(command.flow)).map { markRefused(reply, $0) } ?? false
        if !isMarked { nameRefusedRemoval(key) }
        journalWriter.elementExpiries.timers?.retry(
            database: database, key: key, element: element.array(), expiry: expiry,
            now: reactor.unixMilliseconds)
    }

    /// The first one stands for all: what refuses one removal refuses the next.
    private func nameRefusedRemoval(_ key: ByteView) {
        guard !toldOfRefusedRemoval else { return }
        toldOfRefusedRemoval = true
        targetNotices.append(
            "fields and members whose expiry has come stay on the target, which refuses to remove "
                + "one of \(key.printable()): \(refusal); that is tried again every second, and "
                + "needs +hdel and +srem")
    }

    private func failElementTimers(_ error: SystemError) {
        journalWriter.elementExpiries.timers = nil
        failLog(ElementTimers.fileName, error)
    }
}
