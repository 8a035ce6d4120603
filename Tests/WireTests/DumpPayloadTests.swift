import Bytes
import Testing

@testable import Wire

/// Promise: what RESTORE gets is what DUMP would give, and what came by RESTORE is only trusted
/// when its checksum holds.
struct DumpPayloadTests {
    private let captured = ValueBytes.hex("00 01 76 09 00 41 FA 9F 7E 4D BE E9 7F")

    @Test func payloadCapturedFromDragonfly() throws {
        #expect(try dumpPayload(.string, ValueBytes.string("v")) == captured)
        #expect(DumpPayload.byteCount(valueCount: 2) == captured.count)
        try captured.withByteView { payload throws(DecodeError) in
            let (type, value) = try DumpPayload.parse(payload)
            #expect(type == .string && value.array() == [1, 0x76])
        }
    }

    @Test func payloadsHaveTheSizeAnnounced() throws {
        for (type, value) in try SampleValues.all() {
            let payload = try dumpPayload(type, value)
            #expect(payload.count == DumpPayload.byteCount(valueCount: value.count))
        }
    }

    @Test func damagedPayloads() {
        func parse(_ bytes: [UInt8]) throws {
            try bytes.withByteView { view throws(DecodeError) in _ = try DumpPayload.parse(view) }
        }
        for index in captured.indices {
            for bit in 0..<8 {
                var broken = captured
                broken[index] ^= 1 << bit
                #expect(throws: DecodeError.self) { try parse(broken) }
            }
        }
        for size in captured.indices {
            #expect(throws: DecodeError.self) { try parse(Array(captured[..<size])) }
        }
    }

    @Test func versionsAndTypes() throws {
        func payload(_ type: UInt8, version: UInt16) -> [UInt8] {
            let body = [type, 0] + ValueBytes.little(version, 2)
            return body + ValueBytes.little(body.withByteView { $0.crc64() }, 8)
        }
        for version in 0...20 as ClosedRange<UInt16> {
            payload(0, version: version).withByteView { view in
                if version >= 1 && version <= 12 {
                    #expect(throws: Never.self) { try DumpPayload.parse(view) }
                } else {
                    #expect(throws: DecodeError(.badHeader)) { try DumpPayload.parse(view) }
                }
            }
        }
        #expect(throws: DecodeError(.unknownOpcode, opcode: 7)) {
            try payload(7, version: 9).withByteView { view throws(DecodeError) in
                _ = try DumpPayload.parse(view)
            }
        }
    }

    // MARK: - Streams in older layouts

    private func rewrite(
        _ value: [UInt8], from type: ValueType, to target: ValueType
    ) throws -> [UInt8] {
        var buffer = try RegionBuffer()
        try value.withByteView { view throws(DecodeError) in
            try StreamRewriter.rewrite(view, from: type, to: target, into: &buffer)
        }
        return buffer.view.array()
    }

    @Test func streamsInOlderLayouts() throws {
        let newest = SampleValues.stream(.streamListpacks3).value
        let middle = SampleValues.stream(.streamListpacks2).value
        let oldest = SampleValues.stream(.streamListpacks).value
        #expect(try rewrite(newest, from: .streamListpacks3, to: .streamListpacks2) == middle)
        #expect(try rewrite(newest, from: .streamListpacks3, to: .streamListpacks) == oldest)
        #expect(try rewrite(middle, from: .streamListpacks2, to: .streamListpacks) == oldest)
    }

    /// What is there already stays, and damage throws.
    @Test func rewritingAppends() throws {
        let newest = SampleValues.stream(.streamListpacks3).value
        let oldest = SampleValues.stream(.streamListpacks).value
        var buffer = try RegionBuffer()
        try buffer.append(byte: 7)
        try newest.withByteView { view throws(DecodeError) in
            try StreamRewriter.rewrite(
                view, from: .streamListpacks3, to: .streamListpacks, into: &buffer)
        }
        #expect(buffer.view.array() == [7] + oldest)
        for size in newest.indices {
            #expect(throws: DecodeError.self) {
                try rewrite(
                    Array(newest[..<size]), from: .streamListpacks3, to: .streamListpacks)
            }
        }
    }
}
