/// Finds what an operator most likely meant.
enum NearestName {
    /// The known path nearest to an unknown one, nil if none is near. A right name in the wrong
    /// section counts as near.
    static func path(to unknown: String, among known: [String]) -> String? {
        let name = lastComponent(unknown)
        var best: (path: String, distance: Int)?
        for path in known {
            let whole = distance(unknown.lowercased(), path.lowercased())
            let component = distance(name.lowercased(), lastComponent(path).lowercased()) + 1
            let distance = min(whole, component)
            if best.map({ distance < $0.distance }) ?? true { best = (path, distance) }
        }
        guard let best, best.distance <= max(1, name.count / 3) else { return nil }
        return best.path
    }

    /// Insertions, deletions, replacements and swaps of neighbours that turn one text into the
    /// other.
    static func distance(_ left: String, _ right: String) -> Int {
        let left = Array(left.unicodeScalars)
        let right = Array(right.unicodeScalars)
        var beforeLast = [Int](repeating: 0, count: right.count + 1)
        var last = Array(0...right.count)
        for row in 0..<left.count {
            var current = [row + 1]
            for column in 0..<right.count {
                let cost = left[row] == right[column] ? 0 : 1
                var best = min(last[column] + cost, last[column + 1] + 1, current[column] + 1)
                let isSwap =
                    row > 0 && column > 0 && left[row] == right[column - 1]
                    && left[row - 1] == right[column]
                if isSwap { best = min(best, beforeLast[column - 1] + 1) }
                current.append(best)
            }
            beforeLast = last
            last = current
        }
        return last[right.count]
    }

    private static func lastComponent(_ path: String) -> String {
        path.lastIndex(of: ".").map { String(path[path.index(after: $0)...]) } ?? path
    }
}
