import Testing

@testable import Operations

/// A request is carried out as it is written, or refused with a reason.
struct ControlRequestTests {
    private func parse(_ text: String) throws(ControlRequest.Refusal) -> ControlRequest {
        try ControlRequest(line: Array(text.utf8)[...])
    }

    @Test(arguments: [
        (#"{"command":"status"}"#, ControlRequest.status),
        (#"{"command":"pause"}"#, .pause), (#" {"command" : "resume"} "#, .resume),
        (#"{"command":"stop"}"#, .stop),
        (
            #"{"command":"rate","operationsPerSecond":5}"#,
            .rate(operationsPerSecond: 5, bytesPerSecond: nil, maxLatencyMilliseconds: nil)
        ),
        (
            #"{"command":"rate","bytesPerSecond":0,"maxLatencyMilliseconds":20}"#,
            .rate(operationsPerSecond: nil, bytesPerSecond: 0, maxLatencyMilliseconds: 20)
        ),
        (#"{"command":"repair","key":"k"}"#, .repair(database: 0, key: [0x6B])),
        (
            #"{"command":"repair","key":"\\xff\\x5cé","database":3}"#,
            .repair(database: 3, key: [0xFF, 0x5C, 0xC3, 0xA9])
        ),
    ])
    func requests(_ text: String, _ expected: ControlRequest) throws {
        #expect(try parse(text) == expected)
    }

    @Test(arguments: [
        ("", "a request is"), ("status", "a request is"), ("[]", "a request is"),
        ("{}", "a request is"),
        (#"{"command":1}"#, "a request is"), (#"{"command":"shutdown"}"#, "known: status"),
        (#"{"command":"status","x":1}"#, "takes no such member"),
        (#"{"command":"rate","operationsPerSecond":-1}"#, "whole number from 0"),
        (#"{"command":"rate","operationsPerSecond":"5"}"#, "whole number from 0"),
        (#"{"command":"rate","operationsPerSecond":1.5}"#, "whole number from 0"),
        (#"{"command":"status"} {"command":"stop"}"#, "a request is"),
        (String(repeating: "[", count: 60_000), "a request is"),
        (#"{"command":"st"#, "a request is"),
        (#"{"command":"rate","operationsPerSecond":9000000000000000000}"#, "whole number from 0"),
        (#"{"command":"rate","maxLatencyMilliseconds":60001}"#, "to 60000"),
        (#"{"command":"repair"}"#, "needs a key"),
        (#"{"command":"repair","key":""}"#, "needs a key"),
        (#"{"command":"repair","key":"a\\b"}"#, "backslash"),
        (#"{"command":"repair","key":"\\x1"}"#, "backslash"),
        (#"{"command":"repair","key":"k","database":-1}"#, "database must be"),
        (#"{"command":"repair","key":"k","database":99999999999}"#, "database must be"),
    ])
    func refusals(_ text: String, _ reason: String) {
        let refusal = #expect(throws: ControlRequest.Refusal.self) { try parse(text) }
        #expect(refusal?.reason.contains(reason) == true, "\(refusal?.reason ?? "")")
    }
}
