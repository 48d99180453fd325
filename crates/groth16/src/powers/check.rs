//! Whether a `.ptau` file is what it should be.
//!
//! All points are on the curve and in their group. Each section has the powers of the same tau: the sum of its points with
//! random factors, and the sum of the same points one place later, differ by tau, which one pairing shows for the whole
//! section. The Lagrange polynomials of a domain are compared with the powers of tau in the same way: the transform of the
//! random factors gives those with which both sums must be equal. A wrong file passes with a probability of 2^-128.

use std::sync::atomic::AtomicBool;

use ark_bn254::{Bn254, Fr, G1Affine, G1Projective, G2Affine};
use ark_ec::{
    AffineRepr, CurveGroup as _,
    pairing::Pairing as _,
    short_weierstrass::{Affine, Projective, SWCurveConfig},
};
use ark_ff::Zero as _;
use taceo_ark_algebra::{
    fft::{Domain, bit_reverse},
    msm::msm_unchecked,
};

use super::{
    PowersError, PowersFile,
    file::{
        ALPHA_G1, BETA_G1, BETA_G2, LAGRANGE_ALPHA_G1, LAGRANGE_BETA_G1, LAGRANGE_TAU_G1, LAGRANGE_TAU_G2,
        Points, TAU_G1, TAU_G2, section_name,
    },
    inconsistent,
};
use crate::{
    curve::{G1_BYTES, G2_BYTES, PointBytes},
    field,
    lagrange::Steps,
    threads::Threads,
};

/// Points that are read at once.
const CHUNK: u64 = 1 << 13;
/// Bytes of a random factor.
const FACTOR_BYTES: usize = 16;

impl PowersFile {
    /// Checks all points, and that they are those of one tau, alpha and beta to which somebody contributed. `on_section` is
    /// called before each section is read, with its name.
    ///
    /// Takes one to two milliseconds of a core for each constraint. [`memory_of_check`](super::memory_of_check) is the memory.
    pub fn check(
        &self,
        threads: &Threads,
        is_cancelled: &AtomicBool,
        on_section: &(dyn Fn(&'static str) + Sync),
    ) -> Result<(), PowersError> {
        threads.run(|| Check::new(self, Steps(is_cancelled), on_section)?.run())??;
        self.check_unchanged()
    }
}

struct Check<'a> {
    file: &'a PowersFile,
    size: u64,
    /// Random factors, one for each point of the largest section.
    factors: Vec<Fr>,
    steps: Steps<'a>,
    on_section: &'a (dyn Fn(&'static str) + Sync),
}

/// The sums of a section's points with the random factors.
struct Sums<P: SWCurveConfig> {
    first: Affine<P>,
    second: Option<Affine<P>>,
    /// All points but the last.
    of_all_but_last: Projective<P>,
    /// All points but the first, each with the factor of the one before.
    of_next: Projective<P>,
    /// The first 1, 2, 4 ... points, and all points of a section that ends one before.
    of_domains: Vec<Projective<P>>,
}

impl<'a> Check<'a> {
    fn new(
        file: &'a PowersFile,
        steps: Steps<'a>,
        on_section: &'a (dyn Fn(&'static str) + Sync),
    ) -> Result<Self, PowersError> {
        let size = file.info().domain_size();
        let mut factors = Vec::with_capacity(usize::try_from(2 * size).unwrap_or_default());
        let mut bytes = [0; FACTOR_BYTES << 10];
        while (factors.len() as u64) < 2 * size {
            field::fill_random(&mut bytes)?;
            for factor in bytes.as_chunks::<FACTOR_BYTES>().0 {
                factors.push(Fr::from(u128::from_le_bytes(*factor)));
            }
        }
        factors.truncate(usize::try_from(2 * size).unwrap_or_default());
        Ok(Self { file, size, factors, steps, on_section })
    }

    fn run(&self) -> Result<(), PowersError> {
        let (g1, g2) = (G1Affine::generator(), G2Affine::generator());
        let tau_g2: G2Affine = self.file.point(TAU_G2, 1, Points::Checked)?;
        let in_g1 = |section| self.sums::<G1_BYTES, _>(section, self.count(section));
        let same_ratio = |section, sums: &Sums<_>| {
            let (all, next) = (sums.of_all_but_last, sums.of_next);
            check_ratio(section, all, next, g2, tau_g2)
        };

        let tau = in_g1(TAU_G1)?;
        if tau.first != g1 {
            return Err(inconsistent("the first point of tau in G1 is not the generator"));
        }
        same_ratio(TAU_G1, &tau)?;
        let tau_g1 = tau.second.ok_or_else(|| inconsistent("there is no tau in G1"))?;
        self.check_lagrange::<G1_BYTES, _>(LAGRANGE_TAU_G1, &tau.of_domains)?;

        let alpha = in_g1(ALPHA_G1)?;
        same_ratio(ALPHA_G1, &alpha)?;
        self.check_lagrange::<G1_BYTES, _>(LAGRANGE_ALPHA_G1, &alpha.of_domains)?;

        let beta = in_g1(BETA_G1)?;
        same_ratio(BETA_G1, &beta)?;
        self.check_lagrange::<G1_BYTES, _>(LAGRANGE_BETA_G1, &beta.of_domains)?;

        (self.on_section)(section_name(BETA_G2));
        let beta_g2: G2Affine = self.file.point(BETA_G2, 0, Points::Checked)?;
        if !is_equal(beta.first, g2, g1, beta_g2) {
            return Err(inconsistent("beta differs between the two groups"));
        }

        let powers = self.sums::<G2_BYTES, _>(TAU_G2, self.size)?;
        if powers.first != g2 {
            return Err(inconsistent("the first point of tau in G2 is not the generator"));
        }
        let (all, next) = (powers.of_all_but_last.into_affine(), powers.of_next.into_affine());
        if !is_equal(tau_g1, all, g1, next) {
            return Err(inconsistent(different_powers(TAU_G2)));
        }
        self.check_lagrange::<G2_BYTES, _>(LAGRANGE_TAU_G2, &powers.of_domains)?;

        let last = self.file.contributions().last();
        let last =
            last.ok_or_else(|| inconsistent("nobody contributed to it, so everybody knows its tau"))?;
        let is_last = last.tau_g1 == tau_g1
            && last.tau_g2 == tau_g2
            && last.alpha_g1 == alpha.first
            && last.beta_g1 == beta.first
            && last.beta_g2 == beta_g2;
        if !is_last {
            return Err(inconsistent("its points are not those of its last contribution"));
        }
        // With these everybody knows the number.
        if [tau_g1, alpha.first, beta.first].iter().any(|point| *point == g1 || *point == -g1) {
            return Err(inconsistent("tau, alpha or beta is 1 or -1"));
        }
        Ok(())
    }

    fn count(&self, section: u32) -> u64 {
        if section == TAU_G1 { 2 * self.size - 1 } else { self.size }
    }

    fn factors(&self, range: std::ops::Range<u64>) -> &[Fr] {
        let index = |index: u64| usize::try_from(index).unwrap_or(usize::MAX);
        self.factors.get(index(range.start)..index(range.end)).unwrap_or_default()
    }

    fn sums<const N: usize, P>(&self, section: u32, count: u64) -> Result<Sums<P>, PowersError>
    where
        P: SWCurveConfig<ScalarField = Fr>,
        Affine<P>: PointBytes<N>,
    {
        (self.on_section)(section_name(section));
        let zero = Projective::<P>::zero();
        let (mut first, mut second, mut last) = (None, None, Affine::<P>::zero());
        let (mut sum, mut of_next, mut of_domains) = (zero, zero, Vec::new());
        let mut start = 0;
        while start < count {
            self.steps.next()?;
            let end = count.min(start + CHUNK);
            let points: Vec<Affine<P>> = self.file.points(section, start..end, Points::Checked)?;
            if start == 0 {
                (first, second) = (points.first().copied(), points.get(1).copied());
                // The later domains end with a piece.
                let within = (0..).map(|power| 1_usize << power).take_while(|size| *size < points.len());
                of_domains.extend(within.map(|size| msm_unchecked(&points[..size], &self.factors[..size])));
            }
            sum += msm_unchecked(&points, self.factors(start..end));
            let followers = if start == 0 { &points[1..] } else { &points };
            of_next += msm_unchecked(followers, self.factors(start.max(1) - 1..end - 1));
            if end.is_power_of_two() || end == 2 * self.size - 1 {
                of_domains.push(sum);
            }
            last = points.last().copied().unwrap_or(last);
            start = end;
        }
        let first = first.ok_or_else(|| inconsistent("a section has no points"))?;
        let last_factor = self.factors(count - 1..count).first().copied().unwrap_or_default();
        let of_all_but_last = sum - last * last_factor;
        Ok(Sums { first, second, of_all_but_last, of_next, of_domains })
    }

    /// Compares the Lagrange polynomials of each domain with the sums of the powers of tau.
    fn check_lagrange<const N: usize, P>(
        &self,
        section: u32,
        of_domains: &[Projective<P>],
    ) -> Result<(), PowersError>
    where
        P: SWCurveConfig<ScalarField = Fr>,
        Affine<P>: PointBytes<N>,
    {
        (self.on_section)(section_name(section));
        for (power, expected) in (0_u32..).zip(of_domains) {
            let size = 1_u64 << power;
            let mut factors = self.factors(0..size).to_vec();
            if size > self.size {
                // The section with the powers ends one before.
                factors.pop();
                factors.push(Fr::zero());
            }
            let domain =
                Domain::<Fr>::new(factors.len()).ok_or_else(|| inconsistent("a domain is too large"))?;
            domain.fft_in_to_out(&mut factors);
            drop(domain);
            bit_reverse(&mut factors);
            let (mut sum, mut start) = (Projective::<P>::zero(), 0);
            for factors in factors.chunks(usize::try_from(CHUNK).unwrap_or(usize::MAX)) {
                self.steps.next()?;
                let end = start + factors.len() as u64;
                // The smaller domains come first.
                let range = size - 1 + start..size - 1 + end;
                let points: Vec<Affine<P>> = self.file.points(section, range, Points::Checked)?;
                sum += msm_unchecked(&points, factors);
                start = end;
            }
            if sum != *expected {
                return Err(inconsistent(wrong_lagrange(section)));
            }
        }
        Ok(())
    }
}

/// Whether `second` is to `first` as `g2_second` is to `g2_first`.
fn check_ratio(
    section: u32,
    first: G1Projective,
    second: G1Projective,
    g2_first: G2Affine,
    g2_second: G2Affine,
) -> Result<(), PowersError> {
    if is_equal(first.into_affine(), g2_second, second.into_affine(), g2_first) {
        return Ok(());
    }
    Err(inconsistent(different_powers(section)))
}

/// Whether two pairings are equal.
fn is_equal(a: G1Affine, b: G2Affine, c: G1Affine, d: G2Affine) -> bool {
    Bn254::multi_pairing([a, -c], [b, d]).is_zero()
}

const fn different_powers(section: u32) -> &'static str {
    match section {
        TAU_G1 => "the points of tau in G1 are not the powers of one number",
        TAU_G2 => "the points of tau in G2 are not the powers of tau",
        ALPHA_G1 => "the points of alpha tau in G1 are not the powers of tau",
        _ => "the points of beta tau in G1 are not the powers of tau",
    }
}

const fn wrong_lagrange(section: u32) -> &'static str {
    match section {
        LAGRANGE_TAU_G1 => "the Lagrange points of tau in G1 do not follow from its powers",
        LAGRANGE_TAU_G2 => "the Lagrange points of tau in G2 do not follow from its powers",
        LAGRANGE_ALPHA_G1 => "the Lagrange points of alpha tau in G1 do not follow from its powers",
        _ => "the Lagrange points of beta tau in G1 do not follow from its powers",
    }
}
