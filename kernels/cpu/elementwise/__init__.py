"""Operations that look at one element, or one row, at a time: bound by memory."""
