/// The wall clock as text.
public enum UTCTime {
    /// RFC 3339 in UTC, with milliseconds.
    public static func text(unixMilliseconds: Int64) -> String {
        let day = Int(unixMilliseconds / 86_400_000)
        let millisecond = Int(unixMilliseconds % 86_400_000)
        let (year, month, dayOfMonth) = civilDate(daysSinceEpoch: day)
        let second = millisecond / 1000
        let fraction = String(1000 + millisecond % 1000).dropFirst()
        let date = "\(year)-\(twoDigits(month))-\(twoDigits(dayOfMonth))"
        let time = [second / 3600, second / 60 % 60, second % 60].map(twoDigits)
        return "\(date)T\(time.joined(separator: ":")).\(fraction)Z"
    }

    private static func twoDigits(_ number: Int) -> String {
        number < 10 ? "0\(number)" : "\(number)"
    }

    // Counts years from March, so that the leap day ends a year and 400 years are one era.
    private static func civilDate(daysSinceEpoch: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = daysSinceEpoch + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }
}
