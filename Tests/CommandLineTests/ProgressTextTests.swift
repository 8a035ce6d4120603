import Glibc
import Operations
import Replication
import Testing
import Wire

@testable import df2redis

/// The display tells the truth in the room it has.
struct ProgressTextTests {
    private func view(_ progress: Progress, rates: ProgressMeter.Rates = .init()) -> ProgressView {
        ProgressView(
            title: "df2redis migrate", source: "10.0.0.1:6379", target: "10.0.0.2:6379",
            progress: progress, rates: rates, elapsedSeconds: 83)
    }

    private let rates = ProgressMeter.Rates(
        keys: 1000, records: 0, bytesRead: 1_048_576, bytesSent: 1536)

    @Test func snapshotFrame() {
        let frame = ProgressText.frame(
            view(SampleReports.snapshot(), rates: rates), columns: 100, rows: 24, usesColor: false)
        #expect(
            frame == [
                "df2redis migrate  10.0.0.1:6379 -> 10.0.0.2:6379  1:23",
                "full sync     [==============              ]  50.0 %  20,000 of 40,000 keys"
                    + "  1,000 keys/s  ETA 0:20",
                "pending 200  skipped 0  failed 0  to repair 0  read 2.0 MiB (1.0 MiB/s)"
                    + "  sent 3.0 MiB (1.5 KiB/s)",
                "flow  phase              keys      records     applied LSN    pending   failed",
                "   0  full sync        10,000            0               -        100        0",
                "   1  full sync        10,000            0               -        100        0",
            ])
    }

    @Test func stableFrame() {
        var progress = SampleReports.finished(failed: 2, repair: 1)
        progress.phase = .stable
        progress.flows[0].appliedLSN = 12_345_678_901
        let frame = ProgressText.frame(
            view(progress, rates: .init(records: 99.6)), columns: 120, rows: 24, usesColor: false)
        #expect(frame[1] == "stable sync   200 records  100 records/s  after 2,000 keys")
        #expect(frame[2].hasPrefix("pending 0  skipped 0  failed 2  to repair 1  read"))
        #expect(
            frame[4]
                == "   0  finished          1,000          100  12,345,678,901          0        2")
    }

    /// No line reaches the last column and no frame the last row, whatever the size.
    @Test func fitsEveryTerminal() {
        let progress = SampleReports.snapshot(flows: 64)
        for columns in [1, 2, 10, 40, 79, 80, 81, 200] {
            for rows in [1, 2, 3, 4, 5, 6, 10, 24, 67, 68, 69, 200] {
                let frame = ProgressText.frame(
                    view(progress, rates: rates), columns: columns, rows: rows, usesColor: false)
                #expect(frame.count <= max(1, rows - 1))
                #expect(frame.allSatisfy { $0.count <= max(1, columns - 1) })
            }
        }
        let short = ProgressText.frame(view(progress), columns: 80, rows: 10, usesColor: false)
        #expect(short.last == "  and 60 more flows")
        let tall = ProgressText.frame(view(progress), columns: 80, rows: 69, usesColor: false)
        #expect(tall.count == 68 && tall.last?.hasPrefix("  63") == true)
    }

    @Test func colorsAddNoText() {
        let plain = ProgressText.frame(
            view(SampleReports.snapshot(), rates: rates), columns: 60, rows: 24, usesColor: false)
        let colored = ProgressText.frame(
            view(SampleReports.snapshot(), rates: rates), columns: 60, rows: 24, usesColor: true)
        #expect(colored != plain)
        let bare = colored.map { $0.replacing(/\u{1B}\[[0-9]+m/, with: "") }
        #expect(bare == plain)
    }

    @Test func logLine() {
        #expect(
            ProgressText.line(view(SampleReports.snapshot(), rates: rates))
                == "full sync; 50.0 %; 20,000 of 40,000 keys, 1,000 keys/s; ETA 0:20; read 2.0 MiB;"
                + " pending 200; skipped 0; failed 0; to repair 0")
        var progress = SampleReports.finished()
        progress.phase = .stable
        #expect(
            ProgressText.line(view(progress))
                == "stable sync; 2,000 keys; 200 records, 0 records/s; read 0 B; pending 0;"
                + " skipped 0; failed 0; to repair 0")
    }

    /// More keys than at the start are not more than everything; an unknown number is no share.
    @Test func percent() {
        var progress = SampleReports.snapshot()
        progress.sourceKeys = 5
        #expect(view(progress).percent == 100)
        #expect(view(progress, rates: rates).secondsLeft == nil)
        progress.sourceKeys = 0
        #expect(view(progress).percent == nil)
        progress.sourceKeys = 40_000
        #expect(view(progress).secondsLeft == nil)
    }

    @Test func ratesSpanTheWindow() {
        var meter = ProgressMeter()
        var progress = Progress()
        progress.flows = [FlowProgress()]
        var rates = meter.add(progress, nanoseconds: 0)
        #expect(rates == ProgressMeter.Rates())
        for half in 1...40 {
            // 100 keys a second for 10 s, then nothing.
            let done = min(half, 20) * 50
            progress.flows[0].snapshotByType[.string] = SampleReports.counts(read: done)
            rates = meter.add(progress, nanoseconds: Int64(half) * 500_000_000)
            if half == 20 { #expect(rates.keys == 100) }
            if half == 25 { #expect(rates.keys == 50) }
        }
        #expect(rates.keys == 0)
    }

    @Test func words() {
        #expect(PrintableText.count(-1_234_567) == "-1,234,567")
        #expect(PrintableText.count(UInt64.max) == "18,446,744,073,709,551,615")
        #expect(PrintableText.count(999) == "999" && PrintableText.count(1000) == "1,000")
        #expect(PrintableText.bytes(1023) == "1023 B" && PrintableText.bytes(1024) == "1.0 KiB")
        #expect(PrintableText.bytes(Int.max) == "8192.0 PiB")
        #expect(PrintableText.duration(seconds: 59) == "0:59")
        #expect(PrintableText.duration(seconds: 36_061) == "10:01:01")
        #expect(UTCTime.text(unixMilliseconds: 0) == "1970-01-01T00:00:00.000Z")
        #expect(
            UTCTime.text(unixMilliseconds: 1_709_164_799_007)
                == "2024-02-28T23:59:59.007Z")
        #expect(
            UTCTime.text(unixMilliseconds: 1_709_251_199_999)
                == "2024-02-29T23:59:59.999Z")
        #expect(
            UTCTime.text(unixMilliseconds: 4_102_444_800_000)
                == "2100-01-01T00:00:00.000Z")
    }

    /// A key can neither move the cursor nor pretend to be another line.
    @Test func escapes() {
        #expect(PrintableText.escaped("käse \\ ok") == "käse \\ ok")
        #expect(
            PrintableText.escaped("a\u{0}\r\n\t\u{1B}[1m\u{7F}\u{9B}")
                == #"a\x00\r\n\t\x1b[1m\x7f\x9b"#)
        #expect(PrintableText.escaped("\u{202E}x\u{2028}") == #"\u{202e}x\u{2028}"#)
        #expect(PrintableText.name(String(repeating: "k", count: 500)).count == 120)
    }
}
