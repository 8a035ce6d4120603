/// INCRBYFLOAT and HINCRBYFLOAT as Dragonfly computes them: in double precision, printed as the
/// shortest text that reads back. Redis adds in extended precision and prints 17 digits, so 0.1 + 0.2
/// would differ from the source.
enum FloatIncrement {
    /// KEYS[1], ARGV[1] = increment, ARGV[2] = field, absent for a string.
    ///
    /// The layout of the text is that of Dragonfly's reply_builder.cc: decimal from 1e-6 up to below
    /// 1e21, else with an exponent and its sign.
    static let script: StaticString = """
        local old
        if ARGV[2] then old = redis.call('HGET', KEYS[1], ARGV[2])
        else old = redis.call('GET', KEYS[1]) end
        local sum = tonumber(old or '0') + tonumber(ARGV[1])
        local text = '0'
        if sum ~= 0 then
            local shortest
            for digits = 14, 16 do
                shortest = string.format('%.' .. digits .. 'e', sum)
                if tonumber(shortest) == sum then break end
            end
            local sign, lead, rest, exponent =
                string.match(shortest, '^(-?)(%d)%.?(%d*)e([+-]%d+)$')
            local digits = string.gsub(lead .. rest, '0+$', '')
            exponent = tonumber(exponent)
            if exponent >= 21 or exponent < -6 then
                text = string.sub(digits, 1, 1)
                if #digits > 1 then text = text .. '.' .. string.sub(digits, 2) end
                text = text .. 'e' .. (exponent > 0 and '+' or '') .. exponent
            elseif exponent < 0 then
                text = '0.' .. string.rep('0', -exponent - 1) .. digits
            elseif #digits <= exponent + 1 then
                text = digits .. string.rep('0', exponent + 1 - #digits)
            else
                text = string.sub(digits, 1, exponent + 1) .. '.'
                    .. string.sub(digits, exponent + 2)
            end
            text = sign .. text
        end
        if ARGV[2] then redis.call('HSET', KEYS[1], ARGV[2], text)
        else redis.call('SET', KEYS[1], text, 'KEEPTTL') end
        return redis.status_reply('OK')
        """
}
