"""The command line: translates words into calls and documents into text, prints errors, sets exit codes; decides nothing."""
