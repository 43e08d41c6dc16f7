"""The Ola model: encoders, projectors, decoder, processor, weights, generation and streamed speech."""
