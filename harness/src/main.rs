//! The command line of Ackscope (S3.9). Everything it does is in the library; here are words, files and exit codes.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
