# One measured process of R's companions of lme4; prints its figures as one line of JSON.
# Arguments: kind, large formula, small formula, CSV file, number of replicates.
suppressMessages({library(lme4); library(lmerTest); library(pbkrtest)})
args <- commandArgs(trailingOnly = TRUE)
kind <- args[1]
data <- read.csv(args[4], stringsAsFactors = TRUE)
fit <- function(formula, REML) {
  model <- eval(substitute(lmer(F, data = data, REML = R), list(F = as.formula(formula), R = REML)))
  model
}
quietly <- function(x) suppressMessages(suppressWarnings(x))
if (kind == "bootstrap") {
  large <- quietly(lme4::lmer(as.formula(args[2]), data, REML = FALSE))
  small <- quietly(lme4::lmer(as.formula(args[3]), data, REML = FALSE))
  run <- function(n) quietly(PBmodcomp(large, small, nsim = n, seed = 1, cl = 1))$test["PBtest", "p.value"]
} else if (kind == "profile") {
  large <- quietly(lme4::lmer(as.formula(args[2]), data, REML = FALSE))
  run <- function(n) quietly(confint(large, method = "profile", quiet = TRUE))[1, 1]
} else if (kind == "many") {
  parts <- split(data[data$segment < 500, ], data$segment[data$segment < 500])
  run <- function(n) sapply(parts[seq_len(n)], function(part) quietly(logLik(lme4::lmer(as.formula(args[2]), part))))[1]
} else {
  large <- quietly(fit(args[2], TRUE))
  ddf <- if (kind == "kenward-roger") "Kenward-Roger" else "Satterthwaite"
  run <- function(n) quietly(coef(summary(large, ddf = ddf)))[1, "df"]
}
if (kind %in% c("bootstrap", "many")) invisible(run(5))
# of many models 500 are fitted, and their time is scaled up
count <- as.integer(args[5])
looped <- if (kind == "many") min(count, 500) else count
start <- as.numeric(Sys.time())
answer <- run(looped)
elapsed <- as.numeric(Sys.time()) - start
if (kind == "many") elapsed <- elapsed * count / looped
cat(sprintf('{"seconds": %.6f, "answer": %.8f}\n', elapsed, as.numeric(answer)))
