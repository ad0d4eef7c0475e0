# One measured process of lme4; prints its figures as one line of JSON, as worker.py does.
# Arguments: kind ("fit" or "refit"), formula, formula to warm up, CSV file, CSV file to warm up, number of calls.
suppressMessages(library(lme4))
args <- commandArgs(trailingOnly = TRUE)
kind <- args[1]
formula <- as.formula(args[2])
calls <- as.integer(args[6])

memory_kb <- function(field) {
  lines <- tryCatch(readLines("/proc/self/status"), error = function(e) character(), warning = function(w) character())
  line <- grep(paste0("^", field, ":"), lines, value = TRUE)
  if (length(line)) as.numeric(gsub("[^0-9]", "", line)) else NA
}
now <- function() as.numeric(Sys.time())
cpu <- function() sum(proc.time()[1:2])
fit <- function(data, model = formula) suppressMessages(suppressWarnings(lmer(model, data)))

start <- now()
invisible(fit(read.csv(args[5]), as.formula(args[3])))
warm_up <- now() - start

read <- if (requireNamespace("data.table", quietly = TRUE)) {
  function(file) data.table::fread(file, data.table = FALSE)
} else read.csv
data <- read(args[4])
run <- function(i) fit(data)
if (kind == "refit") {
  base <- fit(data)
  n_responses <- sum(startsWith(names(data), "new_"))
  run <- function(i) suppressMessages(suppressWarnings(
    refit(base, data[[paste0("new_", (i - 1) %% n_responses)]])))
}
invisible(gc())
tryCatch(cat("5", file = "/proc/self/clear_refs"), error = function(e) NULL, warning = function(w) NULL)
before <- memory_kb("VmRSS")
seconds <- cpu_seconds <- numeric(calls)
for (i in seq_len(calls)) {
  model <- NULL
  c0 <- cpu(); t0 <- now()
  model <- run(i)
  seconds[i] <- now() - t0
  cpu_seconds[i] <- cpu() - c0
}
peak <- memory_kb("VmHWM")

# refit() of lme4 1.1-31 counts n - 1 degrees of freedom for REML instead of n - p, so what it reports is not
# the REML criterion: evaluate the criterion at the theta that it reached.
criterion <- REMLcrit(model)
if (kind == "refit") {
  data[[all.vars(formula)[1]]] <- data[[paste0("new_", (calls - 1) %% n_responses)]]
  criterion <- lmer(formula, data, devFunOnly = TRUE)(getME(model, "theta"))
}
number <- function(x) if (is.na(x)) "null" else sprintf("%.12f", x)
array <- function(x) sprintf("[%s]", paste(vapply(x, number, ""), collapse = ", "))
cat(sprintf('{"warm_up_seconds": %s, "seconds": %s, "cpu_seconds": %s, "before_mb": %s, "peak_mb": %s, "criterion": %s}\n',
  number(warm_up), array(seconds), array(cpu_seconds), number(before / 1024), number(peak / 1024), number(criterion)))
