"""Operations on single elements, and what moves, adds up or draws them."""
